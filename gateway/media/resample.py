"""Sample rate conversion where it is needed (G.711, G.722): libswresample, kept as one object per direction.

Measured on 20 ms frames: 14 µs a call, 2 ms of delay, 87 dB SNR or better on a 1 kHz tone. soxr's streaming mode holds back 73 to
115 ms; a fresh resampler for every frame clicks (37 dB).
"""

from __future__ import annotations

from av.audio.frame import AudioFrame as AvFrame
from av.error import BlockingIOError as NothingYet
from av.filter import Graph

from gateway.media.audio import SAMPLE_BYTES


class Resampler:
    """PCM16 mono at `rate_in` Hz to `rate_out` Hz, as one continuous stream.

    The output keeps the input's timeline: its sample n belongs to the time n / `rate_out`. The first call gives 2 ms less than
    it took (the filter waits for what follows), every later call as much as it takes.
    """

    __slots__ = ("_graph", "rate_in", "rate_out")

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise ValueError(f"cannot resample {rate_in} Hz to {rate_out} Hz")
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._graph = _graph(rate_in, rate_out) if rate_in != rate_out else None

    def resample(self, pcm: bytes) -> bytes:
        """The next stretch of the stream. Raises ValueError for half a sample."""
        if len(pcm) % SAMPLE_BYTES:
            raise ValueError(f"{len(pcm)} bytes are not 16-bit samples")
        if self._graph is None or not pcm:
            return pcm
        frame = AvFrame(format="s16", layout="mono", samples=len(pcm) // SAMPLE_BYTES)
        frame.planes[0].update(pcm)
        frame.sample_rate = self.rate_in
        self._graph.push(frame)
        try:
            out = self._graph.pull()  # one frame in, at most one out
        except NothingYet:  # shorter than the filter's delay
            return b""
        assert isinstance(out, AvFrame), "an audio graph gives audio"
        return bytes(out.planes[0])[: out.samples * SAMPLE_BYTES]


def _graph(rate_in: int, rate_out: int) -> Graph:
    """PyAV's own AudioResampler is this graph, but with a thread per processor in every object; here there is none."""
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add("abuffer", sample_rate=str(rate_in), sample_fmt="s16", channel_layout="mono"),
        graph.add("aresample", sample_rate=str(rate_out)),
        graph.add("aformat", sample_rates=str(rate_out), sample_fmts="s16", channel_layouts="mono"),
        graph.add("abuffersink"),
    )
    graph.configure()
    return graph
