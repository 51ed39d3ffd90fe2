/** A call from a browser to the gateway. No dependencies: `import { connect } from 'https://gateway.example/call.js'`. */

export type CallState =
  | 'idle'
  | 'connecting'
  /** The caller has the floor. */
  | 'listening'
  /** The caller fell silent; the answer has not begun. */
  | 'thinking'
  | 'speaking'
  /** The network is lost; the call goes on if it comes back in time. */
  | 'reconnecting'
  | 'ended';

export type CallErrorCode =
  /** The caller or the browser does not allow the microphone. */
  | 'denied'
  /** Not https:// and not localhost: browsers give no microphone there. */
  | 'insecure'
  | 'no-microphone'
  | 'busy-microphone'
  /** Missing or wrong `token` (HTTP 401, 403). */
  | 'key'
  /** Full or draining (HTTP 503, 429), also after the retries. See `retryAfter`. */
  | 'full'
  /** The gateway does not answer (or HTTP 502, 504), also after the retries. */
  | 'unreachable'
  /** The gateway refused the offer for another reason; see `message` and `status`. */
  | 'refused'
  /** Signaling worked, but no audio path came up within 15 s. */
  | 'no-media'
  /** The network was lost and did not come back. */
  | 'lost'
  /** The gateway reports trouble with the model. The state `ended` follows when the call ends for it. */
  | 'model'
  /** The browser holds the sound back until a tap: call `play()` in one. */
  | 'playback'
  /** Hung up, or `signal` aborted, before the call was there. */
  | 'cancelled';

export class CallError extends Error {
  readonly name: 'CallError';
  readonly code: CallErrorCode;
  /** HTTP status, when there was one. */
  readonly status?: number;
  /** Seconds the gateway asks to wait, when it does. */
  readonly retryAfter?: number;
}

/** One line of the conversation so far; the same `id` comes again whenever the line grows. Put it into the page as text, never as HTML. */
export interface Transcript {
  /** Grows in the order in which people spoke, which is not always the order in which words arrive. */
  id: number;
  role: 'user' | 'bot';
  text: string;
  /** How many characters of `text` the caller has already heard. */
  spoken: number;
  /** Nothing will be added. */
  final: boolean;
  /** The caller spoke over it: what lies beyond `spoken` was never heard. */
  interrupted: boolean;
}

/** One answer's response time, seconds, split by cause. A part that is unknown is null or missing. */
export interface Turn {
  /** From the caller's last sound to the first audible packet out, at the gateway. */
  response?: number | null;
  /** Of it: until the model's first byte (its detection of the end of speech is inside). */
  model_first_audio?: number | null;
  /** Of it: the silence at the head of the model's audio. */
  leading_silence?: number | null;
  /** Of it: the gateway's own share. */
  out?: number | null;
  end: 'completed' | 'interrupted' | 'session_closed' | 'error' | 'no_response';
  kind: 'speech' | 'text' | 'tool' | 'greeting';
  /** On top, measured here: the network's round trip. */
  network?: number;
  /** On top, measured here: what the browser's jitter buffer adds. */
  playback?: number;
}

/** Once a second. Seconds and ratios. */
export interface Stats {
  rtt?: number;
  /** Share of the gateway's packets lost on the way here since the last report. */
  lossIn: number;
  /** Share of our packets lost on the way there, by the gateway's last report. */
  lossOut: number;
  /** Of the gateway's packets. */
  jitter: number;
  /** How long a packet now waits here before it is played. */
  playback: number;
  /** Share of the sound that was made up here for packets that did not come; silence does not count. */
  concealed: number;
  codec?: string;
}

export interface StateDetail {
  /** While `connecting`: seconds until the next attempt. */
  retryIn?: number;
  /** Why: of the attempt that failed, or of the end. Missing after an ordinary hang-up by either side. */
  code?: CallErrorCode;
  /** When the gateway ended the call: its end reason, a stable word, and the same in words for people. */
  reason?: string;
  message?: string;
}

export interface CallEvents {
  state: (state: CallState, detail: StateDetail) => void;
  transcript: (line: Transcript) => void;
  turn: (turn: Turn) => void;
  stats: (stats: Stats) => void;
  error: (error: CallError) => void;
  /** An RTVI `server-message` of the gateway, unread. */
  message: (data: Record<string, unknown>) => void;
}

export interface ConnectOptions {
  /** Where the gateway is, without `/whip`. Default: the directory of this page. */
  url?: string;
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  profile?: string;
  /** What the model is told about the caller: values that the profile's context template names, as `{'caller.NAME': value}`. */
  caller?: Record<string, string>;
  /** true: the default microphone; a device id; false: listen and type only. */
  mic?: boolean | string;
  /** The browser's echo cancellation, noise suppression and gain control. Default true. */
  processing?: boolean;
  /** The element that plays the answer; one is made when missing. */
  audio?: HTMLAudioElement;
  /** Offers tried again after `full` and `unreachable`, with back-off or after `Retry-After` (at most 10 s). Default 4. */
  retries?: number;
  /** Only needed when the gateway itself is not reachable directly over UDP (TURN). */
  iceServers?: RTCIceServer[];
  /** Give up connecting, or hang up. */
  signal?: AbortSignal;
  /** Listeners from before the first state; the same as `call.on` later. */
  on?: Partial<CallEvents>;
}

export interface Call {
  /** The gateway's name for this call, as in its log and `/v1/calls`. */
  readonly id: string;
  readonly state: CallState;
  readonly muted: boolean;
  /** What we send, for a level meter. */
  readonly microphone: MediaStreamTrack | null;
  /** What we hear. */
  readonly remote: MediaStream;
  /** Returns the function that stops listening. A `state` listener is called at once with the present state. */
  on<Name extends keyof CallEvents>(name: Name, listener: CallEvents[Name]): () => void;
  mute(on?: boolean): void;
  /** Raises CallError when the microphone cannot be had; the old one then stays. */
  setMic(mic: boolean | string): Promise<void>;
  /** At most 10,000 characters (RangeError). False when it cannot be sent: nothing to say, or not connected yet. */
  sendText(text: string): boolean;
  /** Push-to-talk, for profiles that want it: true when the button goes down, false when it is let go. False: not connected. */
  talk(on: boolean): boolean;
  /**
   * A function the model may call, if the call's profile lists it as the browser's; it gets the arguments by name. What it returns
   * (or resolves to) goes to the model as JSON, at most 16 KiB; what it throws, too, as an error. Name it again to replace it.
   */
  tool(name: string, run: (args: Record<string, unknown>) => unknown): void;
  play(): Promise<void>;
  /** Resolves when the gateway knows. */
  hangup(): Promise<void>;
}

/** Call the gateway; resolves when audio flows. Run it in a click, so that the answer may be heard. Raises CallError. */
export function connect(options?: ConnectOptions): Promise<Call>;

/** What the gateway at `url` offers. Raises CallError. */
export function profiles(
  url: string,
  options?: { token?: string },
): Promise<{ profiles: { name: string; title: string }[]; emulator: boolean; model: string }>;
