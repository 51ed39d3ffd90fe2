// getStats() in seconds and ratios. Pure.

/** `view`: `Stats` of call.d.ts; `totals`: `before` of the next look. */
export function summarise(report, before = {}) {
	const all = [...report.values()];
	const of = (type) => all.find((one) => one.type === type && (one.kind === 'audio' || one.nominated)) ?? {};
	const inbound = of('inbound-rtp');
	const remote = of('remote-inbound-rtp');
	const totals = {
		lost: inbound.packetsLost ?? 0,
		received: inbound.packetsReceived ?? 0,
		waited: inbound.jitterBufferDelay ?? 0,
		played: inbound.jitterBufferEmittedCount ?? 0,
	};
	const fresh = (name) => Math.max(0, totals[name] - (before[name] ?? 0));
	const view = {
		rtt: of('candidate-pair').currentRoundTripTime ?? remote.roundTripTime,
		lossIn: fresh('lost') / (fresh('lost') + fresh('received')) || 0,
		lossOut: remote.fractionLost ?? 0,
		jitter: inbound.jitter ?? 0,
		playback: fresh('waited') / fresh('played') || 0,
		codec: report.get(inbound.codecId)?.mimeType.slice(6),
	};
	return { view, totals };
}
