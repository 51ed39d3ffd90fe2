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
	const query = new URLSearchParams({ ...(profile && { profile }), ...caller });
	const response = await send(`${url}/whip?${query}`, 'POST', { 'Content-Type': 'application/sdp' }, { body: sdp });
	let resource = new URL(response.headers.get('Location'), response.url);
	const etag = response.headers.get('ETag');
	const fragment = { 'Content-Type': 'application/trickle-ice-sdpfrag', ...(etag && { 'If-Match': etag }) };
	let sending = Promise.resolve();

	return {
		id: resource.pathname.split('/').pop(),
		answer: await response.text(),

		// One at a time. No end-of-candidates: behind mDNS only our checks show us.
		trickle(candidates, local) {
			const head = ['a=ice-ufrag:', 'a=ice-pwd:', 'm=audio ', 'a=mid:'].map((name) => local.match(`${name}.*`)[0]);
			const body = [...head, ...candidates.map((one) => `a=${one.candidate}`), ''].join('\r\n');
			sending = sending
				.then(() => resource && send(resource, 'PATCH', fragment, { body }))
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
