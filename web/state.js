// What a caller is shown: whose turn it is, and who said what. Pure: messages in, values out.

// Whose turn it is. What is not in the table changes nothing.
const MOVES = {
  idle: { dial: 'connecting' },
  connecting: { 'bot-ready': 'listening', 'bot-started-speaking': 'speaking' },
  listening: { 'user-stopped-speaking': 'thinking', 'text-sent': 'thinking', 'bot-started-speaking': 'speaking' },
  thinking: {
    'user-started-speaking': 'listening',
    'bot-started-speaking': 'speaking',
    'bot-stopped-speaking': 'listening',
    'bot-interrupted': 'listening',
    'turn-ended': 'listening',
  },
  speaking: { 'bot-stopped-speaking': 'listening', 'bot-interrupted': 'listening' },
  ended: {},
};

/** The next state. `hang-up` ends a call from everywhere. */
export function next(state, step) {
  return step === 'hang-up' ? 'ended' : (MOVES[state]?.[step] ?? state);
}

const gap = (text, more, by) =>
  text && by && by !== 'token' && /\S$/.test(text) && /^[\p{L}\p{N}]/u.test(more) ? ' ' : '';

/**
 * Puts the words of both sides into lines. A line is
 * `{id, role: 'user'|'bot', text, spoken, final, interrupted}`; `spoken` counts the characters already played.
 * Ids grow in the order in which people spoke, which is not always the order in which words arrive.
 */
export class Captions {
  #id = 0;
  #user = null; // the caller's line
  #said = ''; // of it: what will not change any more
  #bot = null; // the answer's line
  #segments = new Map(); // RTVI 2 names pieces of an answer; where each begins in the line
  #heard = false; // the caller has begun to speak since the last line

  /** The line that a message of the gateway changed, or null. */
  take(type, data) {
    switch (type) {
      case 'user-started-speaking':
        // Words come later, perhaps after the answer's: keep the place.
        if (!this.#user || (this.#bot && this.#bot.id > this.#user.id)) this.#open('user');
        return null;
      case 'user-transcription':
        return this.#transcribed(data);
      case 'bot-output':
        return this.#output(data);
      case 'bot-stopped-speaking':
        return this.#close(false);
      case 'bot-interrupted':
        return this.#close(true);
      default:
        return null;
    }
  }

  /** What the caller typed is a line of its own. */
  typed(text) {
    const line = this.#open('user');
    this.#user = null;
    Object.assign(line, { text, spoken: text.length, final: true });
    return { ...line };
  }

  #open(role) {
    const line = { id: ++this.#id, role, text: '', spoken: 0, final: false, interrupted: false };
    if (role === 'user') [this.#user, this.#said] = [line, ''];
    else [this.#bot, this.#segments] = [line, new Map()];
    return line;
  }

  #transcribed({ text = '', final = false }) {
    const line = this.#user ?? this.#open('user');
    line.text = this.#said + text;
    if (final) this.#said = line.text;
    line.spoken = line.text.length;
    line.final = final;
    return { ...line };
  }

  #output({ text = '', spoken, aggregated_by: by, segment_id: segment, spoken_status: status, spoken_progress: progress }) {
    const playing = status ? status !== 'new' : spoken;
    // Playback news belongs to the answer it is about, even when that one is just over.
    const line = this.#bot && (playing || !this.#bot.final) ? this.#bot : this.#open('bot');
    if (!playing) {
      const more = gap(line.text, text, by) + text;
      if (segment != null) this.#segments.set(segment, line.text.length + more.length - text.length);
      line.text += more;
    } else if (this.#segments.has(segment)) {
      const length = status === 'completed' ? text.length : (progress?.accumulated_text ?? '').length;
      line.spoken = Math.max(line.spoken, this.#segments.get(segment) + length);
    } else {
      const at = line.text.indexOf(text, line.spoken);
      if (at < 0) line.text += gap(line.text, text, by) + text; // a gateway that only reports what was played
      line.spoken = at < 0 ? line.text.length : at + text.length;
    }
    return { ...line };
  }

  #close(interrupted) {
    const line = this.#bot;
    if (!line || line.final) return null;
    line.final = true;
    line.interrupted = interrupted;
    if (!interrupted) line.spoken = line.text.length;
    return { ...line };
  }
}
