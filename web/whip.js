// WHIP (RFC 9725) with trickle ICE (RFC 8840): offer, candidates, goodbye. Knows HTTP, nothing of media.

/** Why there is no call. `code` is one of the closed list in call.d.ts; `retryAfter` in seconds. */
export class CallError extends Error {
  constructor(code, message, { status, retryAfter, cause } = {}) {
    super(message, { cause });
    Object.assign(this, { name: 'CallError', code, status, retryAfter });
  }
}

const CODES = { 401: 'key', 403: 'key', 429: 'full', 502: 'unreachable', 503: 'full', 504: 'unreachable' };

async function fault(response) {
  let problem = {};
  try {
    problem = await response.json(); // application/problem+json, RFC 9457
  } catch {
    // A proxy's own error page: the status says enough.
  }
  const wait = Number.parseFloat(response.headers.get('Retry-After') ?? '');
  return new CallError(CODES[response.status] ?? 'refused', problem.detail || problem.title || `HTTP ${response.status}`, {
    status: response.status,
    retryAfter: Number.isFinite(wait) ? wait : undefined,
  });
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { cache: 'no-store', ...options });
  } catch (cause) {
    if (options.signal?.aborted) throw new CallError('cancelled', 'cancelled', { cause });
    throw new CallError('unreachable', 'The gateway did not answer.', { cause });
  }
  if (!response.ok) throw await fault(response);
  return response;
}

const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** `{profiles: [{name, title}], emulator, model}` of the gateway at `url`. */
export async function profiles(url, { token, signal } = {}) {
  return (await ask(`${url}/v1/profiles`, { headers: bearer(token), signal })).json();
}

/** One WHIP resource. */
export class Whip {
  #url;
  #headers;
  #resource = null;
  #etag = null;
  #sending = Promise.resolve();

  constructor(url, { token, profile } = {}) {
    this.#url = `${url}/whip${profile ? `?profile=${encodeURIComponent(profile)}` : ''}`;
    this.#headers = bearer(token);
  }

  /** POST the offer; the SDP answer. */
  async offer(sdp, signal) {
    const headers = { ...this.#headers, 'Content-Type': 'application/sdp', Accept: 'application/sdp' };
    const response = await ask(this.#url, { method: 'POST', headers, body: sdp, signal });
    const location = response.headers.get('Location');
    if (response.status !== 201 || !location) throw new CallError('refused', 'This address does not speak WHIP.');
    this.#resource = new URL(location, response.url).href;
    this.#etag = response.headers.get('ETag');
    return response.text();
  }

  /**
   * PATCH the `RTCIceCandidate`s found since the offer; in order, one request at a time. No end-of-candidates: behind mDNS
   * names the gateway knows us only by the checks we send, which may come after it.
   */
  trickle(candidates, sdp) {
    const line = (name) => sdp.match(new RegExp(`^a=${name}:.*$`, 'm'))?.[0];
    const audio = sdp.match(/^m=audio .*$/m)[0];
    const body = [line('ice-ufrag'), line('ice-pwd'), audio, line('mid')]
      .map((text) => text.trim())
      .concat(candidates.map(({ candidate }) => `a=${candidate}`), '')
      .join('\r\n');
    const headers = { ...this.#headers, 'Content-Type': 'application/trickle-ice-sdpfrag' };
    if (this.#etag) headers['If-Match'] = this.#etag;
    this.#sending = this.#sending
      .then(() => this.#resource && ask(this.#resource, { method: 'PATCH', headers, body }))
      .catch(() => {}); // more candidates are a help, not a need: ICE may do without
    return this.#sending;
  }

  /** DELETE, also while the page goes away. False when the gateway could not be told. Idempotent. */
  async close() {
    const resource = this.#resource;
    this.#resource = null;
    if (!resource) return true;
    try {
      const { status, ok } = await fetch(resource, { method: 'DELETE', headers: this.#headers, keepalive: true });
      return ok || status === 404; // 404: it was over already
    } catch {
      return false; // it will notice by itself that nobody is there
    }
  }
}
