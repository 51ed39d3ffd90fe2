// getStats() of one call in six numbers. Pure: reports in, values out; seconds and ratios.

const find = (report, test) => [...report.values()].find(test);
const ratio = (part, whole) => (whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0);

/** `{view, totals}`: what to show, and what the next call needs as `before` to tell what is new. */
export function summarise(report, before = {}) {
  const inbound = find(report, (s) => s.type === 'inbound-rtp' && s.kind === 'audio') ?? {};
  const outbound = find(report, (s) => s.type === 'outbound-rtp' && s.kind === 'audio') ?? {};
  const remote = find(report, (s) => s.type === 'remote-inbound-rtp') ?? {};
  const pair = find(report, (s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded') ?? {};
  const totals = {
    at: inbound.timestamp ?? outbound.timestamp ?? 0,
    lost: inbound.packetsLost ?? 0,
    received: inbound.packetsReceived ?? 0,
    bytesIn: inbound.bytesReceived ?? 0,
    bytesOut: outbound.bytesSent ?? 0,
    waited: inbound.jitterBufferDelay ?? 0,
    played: inbound.jitterBufferEmittedCount ?? 0,
  };
  const fresh = Object.fromEntries(Object.entries(totals).map(([name, value]) => [name, value - (before[name] ?? 0)]));
  const seconds = before.at ? fresh.at / 1000 : 0;
  const view = {
    /** Round trip, seconds; undefined before the first measurement. */
    rtt: pair.currentRoundTripTime ?? remote.roundTripTime,
    /** Share of the gateway's packets that did not arrive, since the last look. */
    lossIn: ratio(fresh.lost, fresh.lost + fresh.received),
    /** Share of our packets that the gateway missed, by its last report. */
    lossOut: ratio(remote.fractionLost ?? 0, 1),
    /** Interarrival jitter of the gateway's packets, seconds. */
    jitter: inbound.jitter ?? 0,
    /** How long a packet now waits here before it is played, seconds. */
    playback: fresh.played > 0 ? fresh.waited / fresh.played : 0,
    kbpsIn: seconds > 0 ? (fresh.bytesIn * 8) / 1000 / seconds : 0,
    kbpsOut: seconds > 0 ? (fresh.bytesOut * 8) / 1000 / seconds : 0,
    codec: report.get(inbound.codecId ?? outbound.codecId)?.mimeType?.replace('audio/', ''),
  };
  return { view, totals };
}
