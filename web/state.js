// Whose turn, who said what. Pure.

const ANSWER = { 'bot-started-speaking': 'speaking' };
const OVER = { 'bot-stopped-speaking': 'listening', 'bot-interrupted': 'listening' };

// What is not here changes nothing.
const MOVES = {
	idle: { dial: 'connecting' },
	connecting: { 'bot-ready': 'listening', ...ANSWER },
	listening: { 'user-stopped-speaking': 'thinking', 'text-sent': 'thinking', ...ANSWER },
	thinking: { 'user-started-speaking': 'listening', 'no-answer': 'listening', ...ANSWER, ...OVER },
	speaking: OVER,
};

export const next = (state, step) =>
	step === 'hang-up' ? 'ended' : Object.hasOwn(MOVES[state] ?? {}, step) ? MOVES[state][step] : state;

/** The words of both sides in lines, `Transcript` of call.d.ts. */
export class Captions {
	#id = 0;
	#user; // the caller's line
	#said = ''; // of it: what is final
	#bot; // the answer's line
	#begins; // where its segments begin

	/** The line a message changed, if any. */
	take(type, data) {
		const bot = this.#bot;
		let line;
		if (type === 'user-transcription') line = this.#heard(data);
		else if (type === 'bot-output') line = this.#output(data);
		// The caller's words may come after the answer's: keep their place.
		else if (type === 'user-started-speaking' && !(this.#user?.id > (bot?.id ?? 0))) this.#open('user');
		else if (OVER[type] === 'listening' && bot && !bot.final) {
			const interrupted = type === 'bot-interrupted';
			line = Object.assign(bot, { final: true, interrupted }, !interrupted && { spoken: bot.text.length });
		}
		return line && { ...line };
	}

	/** What was typed: a line of its own. */
	typed(text) {
		const line = this.#open('user');
		this.#user = undefined;
		return Object.assign(line, { text, spoken: text.length, final: true });
	}

	#open(role) {
		const line = { id: ++this.#id, role, text: '', spoken: 0, final: false, interrupted: false };
		if (role === 'user') [this.#user, this.#said] = [line, ''];
		else [this.#bot, this.#begins] = [line, new Map()];
		return line;
	}

	#heard({ text = '', final = false }) {
		const line = this.#user ?? this.#open('user');
		text = this.#said + text;
		if (final) this.#said = text;
		return Object.assign(line, { text, spoken: text.length, final });
	}

	#output({ text = '', segment_id: segment, spoken_status: status, spoken_progress: progress }) {
		const played = status !== 'new';
		// Played: of the last answer, over or not.
		const line = this.#bot && (played || !this.#bot.final) ? this.#bot : this.#open('bot');
		if (!this.#begins.has(segment)) {
			this.#begins.set(segment, line.text.length);
			line.text += text;
		}
		const heard = this.#begins.get(segment) + (progress?.accumulated_text ?? text).length;
		if (played) line.spoken = Math.max(line.spoken, heard);
		return line;
	}
}
