// The drawer that breaks things, where the built-in emulator answers: what was asked for, and how the call came through, in words.

const $ = (id) => document.getElementById(id);
const KEPT = 30; // lines
const ORDINARY = 4; // the emulator's speed against real time
const SLOW = 0.6;
const LOSS = { share: 0.1, seconds: 10 };

const ms = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);
const many = (count, thing) => `${count} ${thing}${count === 1 ? '' : 's'}`;

/** What a press does: the request's body, what it then says, and what it says that is to come. */
const BREAKERS = {
	goaway: () => {
		const lead = Number($('lead').value);
		const when = lead ? `in ${lead} s` : 'at once';
		return [{ lead }, `goAway: the service will close this session’s socket ${when}.`];
	},
	close: () => [{}, 'The model’s socket was closed in its face, with 1011.'],
	half_open: () => [{}, 'The model’s socket looks open, but nobody is there. Say something: the missing answer gives it away.'],
	slow: (button) => {
		if (button.getAttribute('aria-pressed') === 'true') return [{ speed: ORDINARY }, 'The model is itself again, from the next answer on.'];
		return [{ speed: SLOW }, 'From the next answer on the model speaks slower than you listen. The pauses are put between words.'];
	},
	loss: () => [
		{ ...LOSS, seed: Math.floor(Math.random() * 1e6) },
		`${LOSS.share * 100} % of the packets are lost, both ways, for ${LOSS.seconds} s. Keep talking.`,
	],
};

const SWAPPED = {
	ok: 'the session was resumed on another socket.',
	context_replayed: 'a new session was told what had been said, and goes on from there.',
	no_handle: 'there was nothing to resume: a new session goes on.',
	stale_handle: 'the old session was gone: a new one goes on.',
	refused: 'the service could not be had again.',
};

/** `trouble(body)` asks for it and rejects with words for people. */
export class Lab {
	#madeUp = null; // seconds the browser has concealed since packets are lost
	#seenAt = 0;

	constructor(trouble) {
		for (const button of document.querySelectorAll('[data-trouble]')) {
			button.addEventListener('click', () => this.#press(button, trouble));
		}
	}

	/** There is a call to break, or there is not. */
	ready(on) {
		for (const button of document.querySelectorAll('[data-trouble]')) button.disabled = !on;
		$('lab-first').hidden = on;
		if (on) $('happened').replaceChildren();
		this.#slow(false);
		this.#madeUp = null;
	}

	/** A `server-message` of the gateway. */
	message(data) {
		if (data.type === 'model-swapped') {
			this.#slow(false);
			const words = `${ms(data.gap)} without the model, ${ms(data.replayed)} of your words played to it again, ${ms(data.lost)} lost`;
			const lost = data.result === 'refused';
			this.#say(`${lost ? 'Given up' : 'Recovered'}: ${SWAPPED[data.result] ?? ''} ${words}.`, lost ? 'bad' : 'good');
		} else if (data.type === 'packets-withheld') {
			const lost = `${many(data.lost_in, 'packet')} of yours and ${data.lost_out} of the model’s were lost.`;
			const yours = `Of your words ${ms(data.restored)} came back from redundancy and ${ms(data.concealed)} were made up`;
			const theirs = this.#madeUp === null ? '' : `; your browser made up ${ms(this.#madeUp)} of the model’s`;
			this.#say(`Over: ${lost} ${yours}${theirs}.`, 'good');
			this.#madeUp = null;
		}
	}

	/** `Stats`, about once a second. */
	stats(view) {
		const now = performance.now();
		if (this.#madeUp !== null) this.#madeUp += (view.concealed * (now - this.#seenAt)) / 1000;
		this.#seenAt = now;
	}

	async #press(button, trouble) {
		const kind = button.dataset.trouble;
		const [more, words] = BREAKERS[kind](button);
		try {
			await trouble({ kind, ...more });
		} catch (error) {
			this.#say(error.message, 'bad');
			return;
		}
		if (kind === 'slow') this.#slow(more.speed === SLOW);
		if (kind === 'loss') [this.#madeUp, this.#seenAt] = [0, performance.now()];
		this.#say(words, 'done');
	}

	#slow(on) {
		document.querySelector('[data-trouble=slow]').setAttribute('aria-pressed', String(on));
	}

	#say(words, kind) {
		const line = document.createElement('li');
		line.className = kind;
		const time = document.createElement('time');
		time.textContent = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
		const text = document.createElement('span');
		text.textContent = words;
		line.append(time, text);
		$('happened').append(line);
		while ($('happened').children.length > KEPT) $('happened').firstChild.remove();
		$('happened').scrollTop = $('happened').scrollHeight;
	}
}
