// WHIP (RFC 9725) with trickle ICE (RFC 8840): offer, candidates, goodbye.

const CODES = { 401: 'key', 403: 'key', 429: 'full', 502: 'unreachable', 503: 'full', 504: 'unreachable' };

export class CallError extends Error {
	name = 'CallError';

	constructor(code, message, more) {
		super(message);
		Object.assign(this, { code }, more);
	}
}

async function ask(url, options) {
	const response = await fetch(url, options).catch((cause) => {
		throw new CallError('unreachable', 'The gateway did not answer.', { cause });
	});
	const { status, headers } = response;
	if (response.ok) return response;
	const problem = await response.json().catch(() => ({})); // RFC 9457
	throw new CallError(CODES[status] ?? 'refused', problem.detail ?? `HTTP ${status}`, {
		status,
		retryAfter: parseFloat(headers.get('Retry-After')) || undefined,
	});
}

const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

export async function profiles(url, { token } = {}) {
	return (await ask(`${url}/v1/profiles`, { headers: bearer(token) })).json();
}

/** POST an offer: the answer, and the resource. */
export async function offer(url, sdp, { token, profile, caller }) {
	const send = (to, method, headers, more) => ask(to, { method, headers: { ...bearer(token), ...headers }, ...more });
	const type = (name) => ({ 'Content-Type': `application/${name}` });
	const query = new URLSearchParams({ ...(profile && { profile }), ...caller });
	const response = await send(`${url}/whip?${query}`, 'POST', type('sdp'), { body: sdp });
	let resource = new URL(response.headers.get('Location'), response.url);
	const etag = response.headers.get('ETag');
	const match = etag ? { 'If-Match': etag } : {};
	let sending = Promise.resolve();

	return {
		answer: await response.text(),

		// One at a time. No end-of-candidates: behind mDNS only our checks show us.
		trickle(candidates, local) {
			const [ufrag, pwd, mid] = ['ice-ufrag', 'ice-pwd', 'mid'].map((name) => local.match(`a=${name}:.*`)[0].trim());
			const audio = local.match('m=audio .*')[0].trim();
			const body = [ufrag, pwd, audio, mid, ...candidates.map((one) => `a=${one.candidate}`), ''].join('\r\n');
			sending = sending
				.then(() => resource && send(resource, 'PATCH', { ...type('trickle-ice-sdpfrag'), ...match }, { body }))
				.catch(() => {}); // a help, not a need
		},

		// Even as the page goes.
		async close() {
			const old = resource;
			resource = null;
			if (old) await send(old, 'DELETE', {}, { keepalive: true }).catch(() => {}); // it will notice
		},
	};
}
