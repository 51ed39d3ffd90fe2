// A call; see call.d.ts.

import { MAX_TEXT, envelope, parse } from './rtvi.js';
import { Captions, next } from './state.js';
import { summarise } from './stats.js';
import { CallError, offer, profiles } from './whip.js';

export { CallError, profiles };

// Seconds.
const GATHER = 0.2; // for candidates; later ones are trickled
const MEDIA = 15; // from answer to connection
const BACKOFF = 0.5; // doubled
const PATIENCE = 10; // a longer wait is for the page to decide

const NONE = 'no-microphone';
const MICROPHONE = { NotFoundError: NONE, OverconstrainedError: NONE, NotReadableError: 'busy-microphone' };

const later = (seconds, run) => setTimeout(run, seconds * 1000);
const pause = (seconds) => new Promise((done) => later(seconds, done));

async function openMicrophone(mic, processing) {
	if (!navigator.mediaDevices) throw new CallError('insecure', 'The microphone needs https:// or localhost.');
	const audio = { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing };
	if (mic !== true) audio.deviceId = { exact: mic };
	try {
		return (await navigator.mediaDevices.getUserMedia({ audio })).getTracks()[0];
	} catch (cause) {
		throw new CallError(MICROPHONE[cause.name] ?? 'denied', cause.message, { cause });
	}
}

export async function connect({ url = '.', mic = true, processing = true, retries = 4, iceServers = [], ...options } = {}) {
	const base = new URL(url, location).href.replace(/\/$/, '');
	const listeners = {};
	const tools = new Map();
	const captions = new Captions();
	const remote = new MediaStream();
	const audio = Object.assign(options.audio ?? new Audio(), { autoplay: true, playsInline: true });
	audio.play().catch(() => {}); // in the tap: iOS plays nothing else
	let state = 'idle';
	let shown = state;
	let away = false; // network lost
	let track = null;
	let muted = false;
	let farewell = {}; // why the call ended
	let view = {};
	let id, pc, channel, sender, whip, watch, totals, abandon;

	const emit = (name, ...values) => listeners[name]?.forEach((tell) => tell(...values));
	const leave = () => end();
	const post = (type, data) => channel?.readyState === 'open' && !channel.send(envelope(type, data));

	function on(name, listener) {
		(listeners[name] ??= new Set()).add(listener);
		if (name === 'state' && shown !== 'idle') listener(shown, {});
		return () => listeners[name].delete(listener);
	}

	function step(to, detail = {}) {
		const before = shown;
		state = next(state, to);
		shown = away ? 'reconnecting' : state;
		if (shown !== before) emit('state', shown, detail);
	}

	async function setMic(wanted) {
		const fresh = wanted ? await openMicrophone(wanted, processing) : null;
		if (state === 'ended') return fresh?.stop();
		await sender?.replaceTrack(fresh);
		track?.stop();
		track = fresh;
		if (!track) return;
		track.enabled = !muted;
		track.onended = () => setMic(true).catch((error) => emit('error', error)); // unplugged
	}

	const play = () =>
		audio.play().catch(({ name }) => {
			if (name === 'NotAllowedError') emit('error', new CallError('playback', 'The browser wants a tap first.'));
		});

	function receive({ type, data }) {
		const line = captions.take(type, data);
		if (line) emit('transcript', line);
		step(type);
		if (type === 'server-message') {
			if (data.type === 'call-ended') farewell = data;
			emit('message', data);
		} else if (type === 'metrics' && data.turn) {
			emit('turn', { ...data.turn, network: view.rtt, playback: view.playback });
			if (data.turn.end === 'no_response') step('no-answer');
		} else if (type === 'llm-function-call-in-progress') {
			const answer = (result) => post('llm-function-call-result', { ...data, result });
			const run = async () => answer(await tools.get(data.function_name)(data.arguments));
			run().catch(({ message }) => answer({ error: message }));
		} else if (type === 'error') {
			const fault = new CallError('model', String(data.message));
			if (data.fatal) end(fault);
			else emit('error', fault);
		}
	}

	function network() {
		const now = pc.connectionState;
		if (now === 'failed') return end(new CallError('lost', 'The network was lost.'));
		away = now === 'disconnected';
		step();
	}

	async function attempt() {
		const mine = (pc = new RTCPeerConnection({ iceServers }));
		const news = (channel = mine.createDataChannel('rtvi'));
		sender = mine.addTransceiver(track ?? 'audio').sender;
		mine.ontrack = (event) => {
			remote.addTrack(event.track);
			audio.srcObject = remote;
			play();
		};
		news.onopen = () => post('client-ready', { version: '2.0.0', about: { library: 'call.js' } });
		news.onmessage = ({ data }) => {
			const message = news === channel && parse(data);
			if (message) receive(message);
		};
		news.onclose = () => news === channel && end();

		await mine.setLocalDescription();
		for (let left = GATHER; left > 0 && mine.iceGatheringState !== 'complete'; left -= 0.02) await pause(0.02);
		const found = [];
		const trickle = () => whip && found.length && whip.trickle(found.splice(0), mine.localDescription.sdp);
		mine.onicecandidate = ({ candidate }) => candidate?.candidate && found.push(candidate) && later(0, trickle);
		const resource = await offer(base, mine.localDescription.sdp, options);
		if (mine !== pc) return resource.close(); // hung up
		whip = resource;
		id = whip.id;
		trickle();
		await mine.setRemoteDescription({ type: 'answer', sdp: whip.answer });
		return new Promise((done, failed) => {
			const give = () => failed(new CallError('no-media', 'No audio path: UDP may be blocked.'));
			later(MEDIA, give);
			mine.onconnectionstatechange = () => {
				if (mine.connectionState === 'failed') give();
				if (mine.connectionState !== 'connected') return;
				mine.onconnectionstatechange = network;
				done();
			};
		});
	}

	async function drop() {
		const [old, from] = [pc, whip];
		pc = whip = channel = sender = undefined;
		await Promise.race([from?.close(), pause(2)]);
		old?.close(); // only now: its goodbye would come first
	}

	async function end(fault) {
		if (state === 'ended') return;
		const done = drop();
		clearInterval(watch);
		away = false;
		removeEventListener('pagehide', leave);
		track?.stop();
		audio.srcObject = null;
		step('hang-up', { ...farewell, code: fault?.code });
		if (fault) emit('error', fault);
		abandon(fault ?? new CallError('cancelled', 'Hung up.'));
		await done;
	}

	async function dial() {
		await setMic(mic);
		for (let tried = 0; state !== 'ended'; tried++) {
			try {
				return await attempt();
			} catch (error) {
				const wait = error.retryAfter ?? BACKOFF * 2 ** tried * (0.75 + Math.random() / 2);
				if (!['full', 'unreachable'].includes(error.code) || tried >= retries || wait > PATIENCE) throw error;
				drop();
				emit('state', 'connecting', { retryIn: wait, code: error.code });
				await pause(wait);
			}
		}
	}

	for (const [name, listener] of Object.entries(options.on ?? {})) on(name, listener);
	const abandoned = new Promise((_, failed) => (abandon = failed));
	addEventListener('pagehide', leave);
	options.signal?.addEventListener('abort', leave);
	step('dial');
	try {
		await Promise.race([dial(), abandoned]);
	} catch (cause) {
		const fault = cause instanceof CallError ? cause : new CallError('refused', String(cause), { cause });
		end(fault);
		throw fault;
	}
	watch = setInterval(async () => {
		const report = await pc?.getStats();
		if (!report) return;
		({ view, totals } = summarise(report, totals));
		emit('stats', view);
	}, 1000);

	return {
		on,
		play,
		setMic,
		remote,
		hangup: leave,
		tool: (name, run) => tools.set(name, run),
		get id() { return id; },
		get state() { return shown; },
		get muted() { return muted; },
		get microphone() { return track; },
		mute(wanted = true) {
			muted = wanted;
			if (track) track.enabled = !muted;
		},
		talk: (on) => post('talk', { on }),
		sendText(text) {
			const content = text.trim();
			if (content.length > MAX_TEXT) throw new RangeError(`at most ${MAX_TEXT} characters`);
			if (!content || !post('send-text', { content })) return false;
			emit('transcript', captions.typed(content));
			step('text-sent');
			return true;
		},
	};
}
