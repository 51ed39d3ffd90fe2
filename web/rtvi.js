// RTVI envelopes on the data channel: `{id, label: "rtvi-ai", type, data}`. No sockets, no clock.

export const VERSION = '2.0.0';
export const LABEL = 'rtvi-ai';
export const CHANNEL = 'rtvi';
export const MAX_TEXT = 10_000; // characters of one `send-text`: the gateway's limit

let serial = 0;

const envelope = (type, data) => JSON.stringify({ id: `c${++serial}`, label: LABEL, type, ...(data && { data }) });

export const clientReady = () => envelope('client-ready', { version: VERSION, about: { library: 'gemini-voice-gateway' } });

export const sendText = (content) => envelope('send-text', { content, options: { run_immediately: true, audio_response: true } });

export const disconnectBot = () => envelope('disconnect-bot');

/** A message of the gateway as `{type, data}`, or null for anything that is not RTVI. */
export function parse(raw) {
  try {
    const { label, type, data } = JSON.parse(raw);
    if (label !== LABEL || typeof type !== 'string') return null;
    return { type, data: data && typeof data === 'object' ? data : {} };
  } catch {
    return null;
  }
}
