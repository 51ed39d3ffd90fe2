// RTVI envelopes on the data channel.

const LABEL = 'rtvi-ai';
export const MAX_TEXT = 10_000; // characters

let serial = 0;

export const envelope = (type, data) => JSON.stringify({ id: `c${++serial}`, label: LABEL, type, data });

/** `{type, data}`; null when it is not RTVI. */
export function parse(raw) {
	try {
		const { label, type, data } = JSON.parse(raw);
		return label === LABEL && typeof type === 'string' ? { type, data: Object(data) } : null;
	} catch {
		return null;
	}
}
