// A call to the gateway: microphone, WHIP, far end's audio, news on the data channel. The types are in call.d.ts.

import { CHANNEL, MAX_TEXT, clientReady, disconnectBot, parse, sendText } from './rtvi.js';
import { Captions, next } from './state.js';
import { summarise } from './stats.js';
import { CallError, Whip, profiles } from './whip.js';

export { CallError, profiles };

// Seconds.
const GATHER = 0.2; // wait for local candidates before the offer goes; later ones are trickled
const MEDIA = 15; // from the answer to a working connection
const AWAY = 15; // a lost network may come back for so long: the gateway keeps the call no longer
const BACKOFF = [0.5, 1, 2, 4]; // a refused or unanswered offer, unless Retry-After says otherwise
const PATIENCE = 10; // a longer Retry-After is the caller's decision
const STATS = 1;

const RETRY = new Set(['full', 'unreachable']);
const MICROPHONE = {
  NotAllowedError: ['denied', 'The microphone was not allowed.'],
  NotFoundError: ['no-microphone', 'There is no microphone.'],
  OverconstrainedError: ['no-microphone', 'That microphone is not there any more.'],
  NotReadableError: ['busy-microphone', 'Another program holds the microphone.'],
};

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function openMicrophone(device, processing) {
  if (!globalThis.isSecureContext || !navigator.mediaDevices) {
    throw new CallError('insecure', 'Browsers give the microphone to https:// and localhost pages only.');
  }
  const audio = { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing, channelCount: 1 };
  if (typeof device === 'string' && device) audio.deviceId = { exact: device };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    return stream.getAudioTracks()[0];
  } catch (cause) {
    const [code, message] = MICROPHONE[cause.name] ?? ['denied', cause.message];
    throw new CallError(code, message, { cause });
  }
}

class Call {
  #options;
  #listeners = { state: [], transcript: [], turn: [], stats: [], error: [], message: [] };
  #state = 'idle';
  #away = null; // timer: the network is lost
  #captions = new Captions();
  #audio;
  #remote = new MediaStream();
  #pc = null;
  #channel = null;
  #sender = null;
  #whip = null;
  #track = null; // what we send
  #opened = null; // the track we opened ourselves, to be stopped by us
  #muted = false;
  #outbox = []; // typed before the channel is open; at most 20
  #watch = null;
  #totals;
  #last = {};
  #leave = () => void this.hangup();

  constructor(options) {
    this.#options = { url: '', mic: true, processing: true, retries: 4, ...options };
    this.#options.url = new URL(this.#options.url || '.', globalThis.location?.href).href.replace(/\/$/, '');
    for (const [name, listener] of Object.entries(options.on ?? {})) this.on(name, listener);
    // iOS plays only what a tap started: this runs in the tap, before anything is awaited.
    this.#audio = options.audio ?? new Audio();
    Object.assign(this.#audio, { autoplay: true, playsInline: true, srcObject: this.#remote });
    this.#audio.play()?.catch(() => {}); // nothing to play yet; play() below tells when it matters
  }

  /** idle, connecting, listening, thinking, speaking, reconnecting, ended. */
  get state() {
    return this.#away && this.#state !== 'ended' ? 'reconnecting' : this.#state;
  }

  get muted() {
    return this.#muted;
  }

  /** The track we send, for a level meter; null without a microphone. */
  get microphone() {
    return this.#track;
  }

  /** The far end's MediaStream. */
  get remote() {
    return this.#remote;
  }

  /** Listen; returns the function that stops listening. `state` is told at once where the call stands. */
  on(name, listener) {
    const list = this.#listeners[name];
    if (!list) throw new TypeError(`a call has no event "${name}"`);
    list.push(listener);
    if (name === 'state' && this.#state !== 'idle') listener(this.state, {});
    return () => void list.splice(list.indexOf(listener), 1);
  }

  #emit(name, ...values) {
    for (const listener of [...this.#listeners[name]]) listener(...values);
  }

  #step(step, detail = {}) {
    const before = this.state;
    this.#state = next(this.#state, step);
    if (this.state !== before) this.#emit('state', this.state, detail);
  }

  /** Until the media flows. Raises CallError. */
  async dial() {
    const { mic, processing, retries, signal } = this.#options;
    this.#step('dial');
    signal?.addEventListener('abort', this.#leave, { once: true });
    globalThis.addEventListener?.('pagehide', this.#leave);
    try {
      if (!globalThis.RTCPeerConnection) throw new CallError('unsupported', 'This browser has no WebRTC.');
      if (mic) this.#use(mic instanceof MediaStreamTrack ? mic : await openMicrophone(mic, processing), mic);
      for (let attempt = 0; ; attempt++) {
        try {
          await this.#attempt();
          break;
        } catch (error) {
          const wait = error.retryAfter ?? BACKOFF[Math.min(attempt, BACKOFF.length - 1)] * (0.75 + Math.random() / 2);
          this.#drop();
          if (this.#state === 'ended' || !RETRY.has(error.code) || attempt >= retries || wait > PATIENCE) throw error;
          this.#emit('state', 'connecting', { retryIn: wait, code: error.code });
          await pause(wait);
        }
        this.#stillWanted();
      }
    } catch (error) {
      const fault = error instanceof CallError ? error : new CallError('refused', error.message, { cause: error });
      this.#end(fault);
      throw fault;
    }
    this.#watch = setInterval(() => void this.#measure(), STATS * 1000);
  }

  #stillWanted() {
    if (this.#state === 'ended') throw new CallError('cancelled', 'Hung up.');
  }

  async #attempt() {
    this.#stillWanted();
    const pc = (this.#pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers: this.#options.iceServers ?? [] }));
    const whip = (this.#whip = new Whip(this.#options.url, this.#options));
    const late = [];
    let answered = false;
    const trickle = () => answered && late.length && void whip.trickle(late.splice(0), pc.localDescription.sdp);

    this.#sender = pc.addTransceiver('audio', { direction: 'sendrecv' }).sender;
    await this.#sender.replaceTrack(this.#track);
    this.#listen((this.#channel = pc.createDataChannel(CHANNEL)));
    pc.ontrack = ({ track }) => {
      this.#remote.getTracks().forEach((old) => this.#remote.removeTrack(old));
      this.#remote.addTrack(track);
      void this.play();
    };
    await pc.setLocalDescription();
    await Promise.race([
      pause(GATHER),
      new Promise((done) => {
        pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
      }),
    ]);
    const offer = pc.localDescription.sdp;
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      late.push(candidate);
      setTimeout(trickle); // what is found together goes together
    };
    const answer = await whip.offer(offer, this.#options.signal);
    this.#stillWanted();
    answered = true;
    trickle();
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    await this.#connected(pc);
  }

  #connected(pc) {
    return new Promise((done, failed) => {
      const give = () => failed(new CallError('no-media', 'No audio path to the gateway: UDP may be blocked.'));
      const timer = setTimeout(give, MEDIA * 1000);
      const look = () => {
        const now = pc.connectionState;
        if (now !== 'connected' && now !== 'failed' && now !== 'closed') return;
        clearTimeout(timer);
        if (now === 'connected') {
          pc.onconnectionstatechange = () => this.#network(pc.connectionState);
          done();
        } else give();
      };
      pc.onconnectionstatechange = look;
      look();
    });
  }

  #network(now) {
    if (now === 'failed') return this.#end(new CallError('lost', 'The network was lost.'));
    const lost = now === 'disconnected';
    if (this.#state === 'ended' || lost === Boolean(this.#away)) return undefined;
    clearTimeout(this.#away);
    this.#away = lost ? setTimeout(() => this.#network('failed'), AWAY * 1000) : null;
    return this.#emit('state', this.state, {});
  }

  #listen(channel) {
    channel.onopen = () => {
      channel.send(clientReady());
      for (const text of this.#outbox.splice(0)) channel.send(text);
    };
    channel.onmessage = ({ data }) => this.#receive(parse(data));
    channel.onclose = () => channel === this.#channel && this.#state !== 'connecting' && this.#end();
  }

  #receive(message) {
    if (!message || this.#state === 'ended') return;
    const { type, data } = message;
    const line = this.#captions.take(type, data);
    if (line) this.#emit('transcript', line);
    this.#step(type);
    if (type === 'metrics' && data.turn) {
      this.#emit('turn', { ...data.turn, network: this.#last.rtt, playback: this.#last.playback });
      if (data.turn.end === 'no_response') this.#step('turn-ended');
    } else if (type === 'error') {
      const fault = new CallError('model', String(data.message ?? 'The call failed.'));
      if (data.fatal) this.#end(fault);
      else this.#emit('error', fault);
    } else if (type === 'server-message') this.#emit('message', data);
  }

  async #measure() {
    const report = await this.#pc?.getStats();
    if (!report || this.#state === 'ended') return;
    const { view, totals } = summarise(report, this.#totals);
    this.#totals = totals;
    this.#last = view;
    this.#emit('stats', view);
  }

  #use(track, asked) {
    if (this.#opened !== track) this.#opened?.stop();
    this.#opened = track && track !== asked ? track : null;
    this.#track = track;
    if (!track) return;
    track.enabled = !this.#muted;
    // Unplugged: go on with whatever microphone is left.
    if (this.#opened) track.onended = () => this.setMic(true).catch((error) => this.#emit('error', error));
  }

  /** Play the far end. Only needed after an error `playback`: call it in a click. */
  async play() {
    try {
      await this.#audio.play();
    } catch (cause) {
      if (cause.name === 'NotAllowedError') this.#emit('error', new CallError('playback', 'The browser wants a tap first.', { cause }));
    }
  }

  /** Stop being heard, or be heard again. The microphone stays open. */
  mute(on = true) {
    this.#muted = on;
    if (this.#track) this.#track.enabled = !on;
  }

  /** Another microphone: a device id, a track, true for the default, false for none. Raises CallError. */
  async setMic(mic) {
    if (this.#state === 'ended') return;
    const track = mic instanceof MediaStreamTrack ? mic : mic ? await openMicrophone(mic, this.#options.processing) : null;
    if (this.#state === 'ended') return void track?.stop();
    await this.#sender?.replaceTrack(track);
    this.#use(track, mic);
  }

  /** Say something in writing; at most 10,000 characters. */
  sendText(text) {
    const content = String(text).trim();
    if (!content || this.#state === 'ended') return;
    if (content.length > MAX_TEXT) throw new RangeError(`at most ${MAX_TEXT} characters`);
    if (this.#channel?.readyState === 'open') this.#channel.send(sendText(content));
    else if (this.#outbox.length < 20) this.#outbox.push(sendText(content));
    else throw new RangeError('too much is waiting to be sent');
    this.#emit('transcript', this.#captions.typed(content));
    this.#step('text-sent');
  }

  /** End the call; resolves when the gateway knows. */
  hangup() {
    return this.#end();
  }

  #drop() {
    const [pc, whip, channel] = [this.#pc, this.#whip, this.#channel];
    this.#pc = this.#whip = this.#channel = this.#sender = null;
    if (pc) pc.onconnectionstatechange = pc.onicecandidate = null;
    return (async () => {
      if (whip && !(await whip.close()) && channel?.readyState === 'open') {
        channel.send(disconnectBot()); // a proxy may not let DELETE through
        await pause(GATHER);
      }
      pc?.close();
    })();
  }

  #end(fault) {
    if (this.#state === 'ended') return Promise.resolve();
    clearInterval(this.#watch);
    clearTimeout(this.#away);
    this.#away = null;
    globalThis.removeEventListener?.('pagehide', this.#leave);
    this.#options.signal?.removeEventListener('abort', this.#leave);
    this.#opened?.stop();
    this.#audio.srcObject = null;
    const gone = this.#drop();
    if (fault && fault.code !== 'cancelled') this.#emit('error', fault);
    this.#step('hang-up', { code: fault?.code });
    return gone;
  }
}

/** Call the gateway. Run it in a click, so that the answer may be heard. Raises CallError. */
export async function connect(options = {}) {
  const call = new Call(options);
  await call.dial();
  return call;
}
