// The page. Everything a caller sees; the call itself is call.js.

import { CallError, connect, profiles } from './call.js';
import { Lab } from './lab.js';

const $ = (id) => document.getElementById(id);
const BASE = new URL('.', document.baseURI).href.replace(/\/$/, '');
const OPTIONS = new URLSearchParams(location.search);
const KEY = 'gateway-key';
const QUIET_AFTER = 6000; // ms without a sound before we say that the microphone is silent
const QUIET_LEVEL = 0.004;
const SHOWN_TURNS = 6;

const STATES = {
	idle: 'Press Call and speak',
	connecting: 'Connecting…',
	listening: 'Listening',
	thinking: 'Thinking…',
	speaking: 'Speaking',
	reconnecting: 'Reconnecting…',
	ended: 'Call ended',
};

const HINTS = {
	idle: 'The browser will ask for your microphone.',
	connecting: 'This takes a second or two.',
	listening: 'Say something. You may interrupt at any time.',
	reconnecting: 'The network went away. The call goes on when it is back.',
};

const HERE = `http://localhost${location.port ? `:${location.port}` : ''}/`;
const TROUBLE = {
	denied: ['The microphone is blocked', 'Allow it in the browser’s address bar (or in the system settings), then try again.'],
	insecure: [
		'This address cannot use a microphone',
		`Browsers give it only to https:// addresses and to their own machine. Open the page over https, or, where the gateway runs, at ${HERE}`,
	],
	'no-microphone': ['No microphone found', 'Plug one in or pick another below, then try again.'],
	'busy-microphone': ['The microphone is in use', 'Another program holds it. Close that program, then try again.'],
	full: ['All lines are busy', 'The gateway takes no more calls right now.'],
	unreachable: ['The gateway does not answer', 'It may be down, or this device is offline.'],
	'no-media': ['No audio path', 'Signaling works but no audio gets through. A firewall may be blocking UDP.'],
	lost: ['The network was lost', 'The call could not be kept. Check your connection, then call again.'],
	model: ['The model cannot be reached', ''],
	profile: ['No such choice', 'The address of this page names somebody who is not here. Pick another below.'],
	playback: ['The browser holds the sound back', 'It wants a tap before it plays.'],
};

let call = null;
let aborter = null;
let key = sessionStorage.getItem(KEY) ?? '';

// --- state and trouble ---

function show(state, detail = {}) {
	document.body.dataset.state = state;
	const busy = !['idle', 'ended'].includes(state);
	document.body.classList.toggle('busy', busy);
	$('state').textContent = detail.code && state === 'ended' ? 'No call' : STATES[state];
	$('hint').textContent = HINTS[state] ?? detail.message ?? '';
	if (detail.retryIn) {
		const why = detail.code === 'full' ? 'All lines are busy' : 'No answer';
		$('hint').textContent = `${why}. Trying again in ${Math.max(1, Math.round(detail.retryIn))} s.`;
	}
	$('call').setAttribute('aria-disabled', String(busy)); // disabled, it would lose the keyboard's focus
	$('call-label').textContent = state === 'ended' ? 'Call again' : 'Call';
	for (const id of ['text', 'send', 'mute']) $(id).disabled = !busy || state === 'connecting';
	$('profile').disabled = busy;
	// What had the focus is hidden or disabled now; who reads elsewhere is left alone.
	if (state === 'ended' && document.activeElement.matches('body, .incall, :disabled')) $('call').focus({ preventScroll: true });
}

function complain(error) {
	if (error.code === 'cancelled') return;
	if (error.code === 'key') return askKey();
	const [title, text] = TROUBLE[error.code] ?? ['The call failed', ''];
	const after = error.retryAfter ? ` Try again in about ${Math.ceil(error.retryAfter)} seconds.` : '';
	$('trouble-title').textContent = title;
	$('trouble-text').textContent = (text || error.message) + after;
	$('trouble-again').hidden = ['playback', 'profile'].includes(error.code);
	$('trouble-quiet').hidden = !['denied', 'insecure', 'no-microphone', 'busy-microphone'].includes(error.code);
	$('trouble-play').hidden = error.code !== 'playback';
	$('trouble').hidden = false;
}

function askKey() {
	$('key').hidden = false;
	$('key-value').value = '';
	$('key-value').focus();
}

// --- captions: always textContent, never markup ---

let following = true; // the newest line; not while somebody has scrolled back to read
let scrolledTo = 0;

function follow() {
	if (following) $('captions').scrollTop = $('captions').scrollHeight;
}

function scrolled() {
	const { scrollTop, scrollHeight, clientHeight } = $('captions');
	if (scrollTop < scrolledTo) following = false;
	if (scrollHeight - scrollTop - clientHeight < 40) following = true;
	scrolledTo = scrollTop;
}

function caption(line) {
	let item = $('captions').querySelector(`[data-id="${line.id}"]`);
	if (!item) {
		item = document.createElement('li');
		item.className = line.role;
		item.dataset.id = line.id;
		const who = document.createElement('span');
		who.className = 'who';
		who.textContent = line.role === 'user' ? 'You' : 'Model';
		item.append(who, document.createElement('span'), document.createElement('span'));
		item.children[1].className = 'played';
		item.children[2].className = 'unplayed';
		const after = [...$('captions').children].find((other) => Number(other.dataset.id) > line.id);
		$('captions').insertBefore(item, after ?? null);
		while ($('captions').children.length > 200) $('captions').firstChild.remove();
	}
	item.classList.toggle('interrupted', line.interrupted);
	item.children[1].textContent = line.text.slice(0, line.spoken).trimStart();
	item.children[2].textContent = line.text.slice(line.spoken);
	$('captions-empty').hidden = true;
	follow();
	// A screen reader is told whole lines, not every word; of an answer that was cut off, what was heard.
	const heard = line.text.slice(0, line.spoken).trim();
	if (line.final && heard) $('spoken').textContent = `${line.role === 'user' ? 'You' : 'Model'}: ${heard}`;
}

// --- response time ---

const seconds = (value) => `${value.toFixed(2)} s`;
const ms = (value) => (value === undefined ? '–' : `${Math.round(value * 1000)} ms`);
const percent = (value) => `${(value * 100).toFixed(1)} %`;

function turn(data) {
	if (typeof data.response !== 'number') return;
	const parts = {
		model: data.model_first_audio,
		silence: data.leading_silence,
		gateway: data.out,
		network: data.network,
		playback: data.playback,
	};
	const total = data.response + (data.network ?? 0) + (data.playback ?? 0);
	const item = document.createElement('li');
	const bar = document.createElement('span');
	bar.className = 'bar';
	const words = [];
	for (const [name, value] of Object.entries(parts)) {
		if (!(value > 0)) continue; // unknown, or nothing
		const part = document.createElement('span');
		part.className = name;
		part.style.flexGrow = value;
		bar.append(part);
		words.push(`${name} ${ms(value)}`);
	}
	item.title = words.join(' · ');
	const figure = document.createElement('span');
	figure.className = 'figure';
	figure.textContent = seconds(total);
	const kind = document.createElement('span');
	kind.className = 'kind';
	kind.textContent = data.end === 'interrupted' ? `${data.kind}, interrupted` : data.kind;
	const spoken = document.createElement('span');
	spoken.className = 'hidden';
	spoken.textContent = words.join(', ');
	item.append(kind, bar, figure, spoken);
	item.dataset.total = total;
	$('turns').prepend(item);
	while ($('turns').children.length > SHOWN_TURNS) $('turns').lastChild.remove();
	const longest = Math.max(1, ...[...$('turns').children].map((one) => Number(one.dataset.total)));
	for (const one of $('turns').children) one.querySelector('.bar').style.width = `${(one.dataset.total / longest) * 100}%`;
	$('turns-empty').hidden = true;
}

function figures(view) {
	$('rtt').textContent = ms(view.rtt);
	$('loss-in').textContent = percent(view.lossIn);
	$('loss-out').textContent = percent(view.lossOut);
	$('jitter').textContent = ms(view.jitter);
	$('concealed').textContent = percent(view.concealed);
	$('codec').textContent = view.codec ?? '–';
	lab.stats(view);
}

// --- levels ---

class Levels {
	#context = new AudioContext();
	#mine = null;
	#theirs = null;
	#track = null;
	#frame = 0;
	#heardAt = performance.now();

	constructor(of) {
		// In the tap, for iOS.
		void this.#context.resume();
		const buffer = new Float32Array(512);
		const level = (analyser) => {
			if (!analyser) return 0;
			analyser.getFloatTimeDomainData(buffer);
			return Math.sqrt(buffer.reduce((sum, x) => sum + x * x, 0) / buffer.length);
		};
		const draw = () => {
			this.#frame = requestAnimationFrame(draw);
			const { microphone, remote, muted, state } = of() ?? {};
			if (microphone && microphone !== this.#track) {
				this.#track = microphone;
				this.#mine = this.#tap(new MediaStream([microphone]));
			}
			if (!this.#theirs && remote?.getAudioTracks().length) this.#theirs = this.#tap(remote);
			const mine = level(this.#mine);
			const loud = state === 'speaking' ? level(this.#theirs) : mine;
			$('level').style.transform = `scaleX(${Math.min(1, Math.sqrt(mine) * 2)})`;
			document.body.style.setProperty('--loud', Math.min(1, Math.sqrt(loud) * 2).toFixed(3));
			const now = performance.now();
			if (mine > QUIET_LEVEL || muted || !microphone || state !== 'listening') this.#heardAt = now;
			document.body.classList.toggle('quiet', now - this.#heardAt > QUIET_AFTER);
		};
		draw();
	}

	#tap(stream) {
		const analyser = this.#context.createAnalyser();
		analyser.fftSize = 512;
		this.#context.createMediaStreamSource(stream).connect(analyser);
		return analyser;
	}

	stop() {
		cancelAnimationFrame(this.#frame);
		$('level').style.transform = '';
		document.body.style.removeProperty('--loud');
		document.body.classList.remove('quiet');
		void this.#context.close();
	}
}

// --- the call ---

async function dial({ mic = true } = {}) {
	if (call || aborter) return;
	$('trouble').hidden = $('key').hidden = true;
	$('captions').replaceChildren();
	$('turns').replaceChildren();
	$('captions-empty').hidden = $('turns-empty').hidden = false;
	muted(false);
	aborter = new AbortController();
	let made = null;
	const levels = new Levels(() => made);
	try {
		made = call = await connect({
			url: BASE,
			token: key || undefined,
			profile: $('profile').value || undefined,
			mic: mic && ($('microphone').value || true),
			processing: OPTIONS.get('processing') !== 'off',
			audio: $('far'),
			signal: aborter.signal,
			on: {
				state(state, detail) {
					show(state, detail);
					if (state !== 'ended') return;
					lab.ready(false);
					call = null;
					levels.stop();
				},
				transcript: caption,
				turn,
				stats: figures,
				error: complain,
				message: (data) => lab.message(data),
			},
		});
		lab.ready(true);
		void microphones();
	} catch (error) {
		if (!(error instanceof CallError)) throw error; // a bug; a CallError was shown by the listener
	} finally {
		aborter = null;
	}
}

function hangup() {
	aborter?.abort();
	void call?.hangup();
}

function muted(on) {
	call?.mute(on);
	$('mute').setAttribute('aria-pressed', String(on));
	$('mute-label').textContent = on ? 'Unmute' : 'Mute';
}

// --- pickers ---

function fill(select, options, chosen) {
	select.replaceChildren(
		...options.map(([value, label]) => {
			const option = document.createElement('option');
			option.value = value;
			option.textContent = label;
			return option;
		}),
	);
	if (options.some(([value]) => value === chosen)) select.value = chosen;
}

async function microphones() {
	if (!navigator.mediaDevices?.enumerateDevices) return;
	const all = await navigator.mediaDevices.enumerateDevices();
	const named = all.filter((one) => one.kind === 'audioinput' && one.deviceId && one.deviceId !== 'default');
	const options = named.map((one, index) => [one.deviceId, one.label || `Microphone ${index + 1}`]);
	fill($('microphone'), [['', 'Default'], ...options], $('microphone').value);
}

async function welcome() {
	try {
		const answer = await profiles(BASE, { token: key || undefined });
		const options = answer.profiles.map((one) => [one.name, one.title || one.name]);
		fill($('profile'), options, OPTIONS.get('profile') ?? $('profile').value);
		$('profile-field').hidden = options.length < 2;
		$('emulator').hidden = $('lab').hidden = !answer.emulator;
		const asked = OPTIONS.get('profile');
		if (asked !== null && !options.some(([name]) => name === asked)) complain({ code: 'profile' });
		$('model').textContent = answer.model ?? '';
		$('model').hidden = !answer.model;
		$('key').hidden = true;
	} catch (error) {
		if (!(error instanceof CallError)) throw error;
		complain(error);
	}
}

// --- breaking things ---

const lab = new Lab(async (body) => {
	const headers = { 'Content-Type': 'application/json', ...(key && { Authorization: `Bearer ${key}` }) };
	const url = `${BASE}/v1/calls/${call.id}/trouble`;
	const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) }).catch(() => {
		throw new Error('The gateway does not answer.');
	});
	if (response.status === 409) throw new Error('The model is between two sockets just now. Try again in a second.');
	if (!response.ok) throw new Error('The gateway would not do that. The call may be over.');
});

// --- what the caller does ---

$('call').addEventListener('click', () => dial());
$('trouble-again').addEventListener('click', () => dial());
$('trouble-quiet').addEventListener('click', () => dial({ mic: false }));
$('trouble-play').addEventListener('click', () => {
	$('trouble').hidden = true;
	void call?.play();
});
$('hangup').addEventListener('click', hangup);
$('captions').addEventListener('scroll', scrolled);
new ResizeObserver(follow).observe($('captions'));
$('mute').addEventListener('click', () => muted(!call?.muted));
$('microphone').addEventListener('change', async () => {
	try {
		await call?.setMic($('microphone').value || true);
	} catch (error) {
		if (!(error instanceof CallError)) throw error;
		complain(error);
	}
});
$('say').addEventListener('submit', (event) => {
	event.preventDefault();
	if (!call || !$('text').value.trim()) return;
	if (call.sendText($('text').value)) $('text').value = '';
});
$('key').addEventListener('submit', (event) => {
	event.preventDefault();
	key = $('key-value').value.trim();
	sessionStorage.setItem(KEY, key);
	void welcome();
});
document.addEventListener('keydown', (event) => {
	if (event.target.closest('input, select, textarea') || event.altKey || event.ctrlKey || event.metaKey) return;
	if (event.key === 'm' && call) muted(!call.muted);
	else if (event.key === 'Escape') hangup();
});
navigator.mediaDevices?.addEventListener?.('devicechange', () => void microphones());

show('idle');
void microphones();
void welcome();
