// getStats() in seconds and ratios. Pure.

/** `view`: `Stats` of call.d.ts; `totals`: `before` of the next look. */
export function summarise(report, before = {}) {
	const all = [...report.values()];
	const of = (type) => all.find((one) => one.type === type && (one.kind === 'audio' || one.nominated)) ?? {};
	const totals = of('inbound-rtp');
	const remote = of('remote-inbound-rtp');
	const fresh = (name) => Math.max(0, totals[name] - (before[name] ?? 0)) || 0;
	const lost = fresh('packetsLost');
	const view = {
		rtt: of('candidate-pair').currentRoundTripTime ?? remote.roundTripTime,
		lossIn: lost / (lost + fresh('packetsReceived')) || 0,
		lossOut: remote.fractionLost ?? 0,
		jitter: totals.jitter ?? 0,
		playback: fresh('jitterBufferDelay') / fresh('jitterBufferEmittedCount') || 0,
		concealed: (fresh('concealedSamples') - fresh('silentConcealedSamples')) / fresh('totalSamplesReceived') || 0,
		codec: report.get(totals.codecId)?.mimeType.slice(6),
	};
	return { view, totals };
}
