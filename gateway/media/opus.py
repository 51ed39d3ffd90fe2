"""libopus through ctypes: decode with FEC and concealment, encode with the settings PyAV does not expose (RFC 6716, RFC 7587).

PCM here is mono PCM16 in the machine's byte order (little-endian wherever this runs). The library decodes straight to 16 kHz and
encodes straight from 24 kHz, so there is no resampler on the Opus path. The codec's state lives in memory that Python owns
(`opus_decoder_init` in a buffer of `opus_decoder_get_size` bytes): it goes with the object, nothing has to be destroyed and
nothing can be destroyed twice.

Every length is checked before the library sees it, so no argument can make it read or write outside its memory.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import enum
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import LibraryMissing, PacketError
from gateway.media.audio import PTIME, SAMPLE_BYTES

RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Hz libopus can work at."""

MAX_PACKET_BYTES = 1_275
"""The most one 20 ms frame can take (RFC 6716 §3.4)."""

MAX_PACKET_SECONDS = 0.12

# Request numbers of opus_defines.h; the C macros do not survive into the library.
_SET_BITRATE = 4002
_SET_COMPLEXITY = 4010
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_SET_DTX = 4016
_SET_SIGNAL = 4024
_RESET_STATE = 4028
_SIGNAL_VOICE = 3001


class Application(enum.IntEnum):
    """What an encoder is for. It cannot change after the first frame."""

    VOIP = 2048
    AUDIO = 2049
    RESTRICTED_LOWDELAY = 2051


_library: ctypes.CDLL | None = None


def load(path: str | None = None) -> str:
    """Load libopus, once per process, and give its version string.

    Tried in this order: `path` (and then nothing else: an operator who names a file means that file), the system's, the one
    inside the PyAV wheel. Raises `LibraryMissing` when none loads. A second call keeps the library of the first.
    """
    global _library  # one native library per process, like an import
    if _library is None:
        _library = _bind(path)
    return _version(_library)


def _lib() -> ctypes.CDLL:
    if _library is None:
        load()
    assert _library is not None, "load() either binds or raises"
    return _library


def _candidates(path: str | None) -> Iterator[str]:
    if path is not None:
        yield path
        return
    yield ctypes.util.find_library("opus") or "libopus.so.0"
    spec = importlib.util.find_spec("av")
    if spec is not None and spec.origin is not None:
        # auditwheel puts a wheel's libraries beside the package, under a name with a hash in it.
        yield from map(str, sorted(Path(spec.origin).parent.parent.glob("av.libs/libopus-*.so*")))


def _bind(path: str | None) -> ctypes.CDLL:
    failures = []
    for candidate in _candidates(path):
        try:
            library = ctypes.PyDLL(candidate)
            _declare(library)
        except (OSError, AttributeError) as exc:  # not there or not loadable; loadable, but not libopus
            failures.append(str(exc))
        else:
            return library
    raise LibraryMissing(
        "libopus can't be loaded: install it (Debian: apt-get install libopus0) or name its file in GATEWAY_LIBOPUS "
        f"({'; '.join(failures)})"
    )


def _declare(library: ctypes.CDLL) -> None:
    """The library's functions, which run with the interpreter lock held: a call takes 20 µs and nobody waits for the lock."""
    pointer, size, data = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
    integer = ctypes.c_int
    library.opus_get_version_string.argtypes = []
    library.opus_get_version_string.restype = data
    for name, arguments in {
        "opus_decoder_get_size": [integer],
        "opus_decoder_init": [pointer, size, integer],
        "opus_encoder_get_size": [integer],
        "opus_encoder_init": [pointer, size, integer, integer],
        "opus_encode": [pointer, data, integer, pointer, size],
        # Variadic in C: only the fixed arguments are declared, so that ctypes passes the rest as the ABI wants it.
        "opus_encoder_ctl": [pointer, integer],
    }.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = integer
    # No types of arguments: with them ctypes takes three times as long to call, 0.7 µs. `OpusDecoder` passes what it has checked.
    library.opus_decode.restype = integer


def _version(library: ctypes.CDLL) -> str:
    text: bytes = library.opus_get_version_string()
    return text.decode("ascii", "replace")


# --- what a packet says of itself (RFC 6716 §3) ---


def _toc_samples(toc: int, rate: int) -> int:
    """Samples at `rate` in one frame of a packet that begins with this TOC byte."""
    if toc & 0x80:  # CELT: 2.5, 5, 10, 20 ms
        return (rate << (toc >> 3 & 3)) // 400
    if toc & 0x60 == 0x60:  # hybrid: 10, 20 ms
        return rate // 50 if toc & 0x08 else rate // 100
    step = toc >> 3 & 3  # SILK: 10, 20, 40, 60 ms
    return rate * 60 // 1000 if step == 3 else (rate << step) // 100


CLOCK_RATE = 48_000
"""Of Opus in RTP, whatever it is decoded to (RFC 7587 §4.1)."""

SINGLE_TICKS = tuple(0 if toc & 3 else _toc_samples(toc, CLOCK_RATE) for toc in range(256))
"""Ticks of a packet by its first byte, where that says it all: it has one frame (code 0). 0: ask `packet_samples`."""


def packet_samples(payload: bytes, rate: int) -> int:
    """Samples at `rate` that decoding `payload` will give. Raises `PacketError` when its framing is impossible."""
    if not payload:
        raise PacketError("empty Opus packet")
    toc = payload[0]
    code = toc & 3
    if code == 0:
        count = 1
    elif code < 3:
        count = 2
    elif len(payload) < 2:
        raise PacketError("Opus packet ends before its frame count")
    else:
        count = payload[1] & 63
    samples = count * _toc_samples(toc, rate)
    if samples == 0 or samples * 25 > rate * 3:
        raise PacketError(f"Opus packet of {count} frames, {samples} samples")
    return samples


def _first_frame(payload: bytes) -> int | None:
    """Where the first frame's data begins, None when it is empty or the framing is broken."""
    code = payload[0] & 3
    size = len(payload)
    if code < 2:
        return 1 if size > 1 else None
    position = 1
    if code == 3:
        if size < 2:
            return None
        flags = payload[1]
        position = 2
        if flags & 0x40:  # padding length: bytes of 255 go on
            while position < size and payload[position] == 255:
                position += 1
            position += 1
        if not flags & 0x80 or flags & 63 == 1:  # constant size, or only one frame: no length is written
            return position if position < size else None
        lengths = (flags & 63) - 1
    else:
        lengths = 1
    first_length = None
    for _ in range(lengths):
        if position >= size:
            return None
        length = payload[position]
        position += 1
        if length >= 252:
            if position >= size:
                return None
            length += 4 * payload[position]
            position += 1
        if first_length is None:
            first_length = length
    return position if first_length and position < size else None


def has_fec(payload: bytes) -> bool:
    """Whether this packet carries a copy of the audio before it (LBRR, RFC 6716 §4.2.4). False for anything unreadable.

    The SILK layer begins with its flags as plain bits: per channel one voice-activity bit for each 20 ms and then the LBRR bit.
    """
    if not payload or payload[0] & 0x80:  # CELT has none
        return False
    begin = _first_frame(payload)
    if begin is None:
        return False
    frames = max(1, _toc_samples(payload[0], 8_000) // 160)
    flags = payload[begin]
    if flags >> (7 - frames) & 1:
        return True
    return bool(payload[0] & 4 and flags >> (6 - 2 * frames) & 1)


# --- the codec ---

_PCM = ctypes.create_string_buffer(round(max(RATES) * MAX_PACKET_SECONDS) * SAMPLE_BYTES)
"""What every decoder writes into and copies from before anything else runs: one for all stays in the processor's cache."""


class OpusDecoder:
    """One stream's decoder, mono at `rate` Hz (one of `RATES`; default the model's 16 kHz). All of them belong to one thread."""

    __slots__ = ("_decode", "_limit", "_state", "rate")

    def __init__(self, rate: int = 16_000) -> None:
        if rate not in RATES:
            raise ValueError(f"libopus cannot decode to {rate} Hz")
        library = _lib()
        self.rate = rate
        self._limit = round(rate * MAX_PACKET_SECONDS)
        self._state = ctypes.create_string_buffer(library.opus_decoder_get_size(1))
        self._decode = library.opus_decode
        if library.opus_decoder_init(self._state, rate, 1) != 0:
            raise ValueError(f"libopus refused a decoder at {rate} Hz")

    def decode(self, payload: bytes) -> bytes:
        """The audio of one packet, 2.5 to 120 ms. Raises `PacketError` when it is not a valid Opus packet."""
        if not isinstance(payload, bytes):
            raise _no_bytes(payload)
        size = len(payload)
        if size == 0:  # for libopus an empty packet is a lost one
            raise PacketError("empty Opus packet")
        samples = self._decode(self._state, payload, size, _PCM, self._limit, 0)
        if samples <= 0:
            raise _undecodable(samples)
        return _PCM[: samples * SAMPLE_BYTES]  # type: ignore[return-value]  # bytes, in one copy; `.raw` copies the whole first

    def decode_fec(self, payload: bytes, samples: int) -> bytes:
        """The `samples` before `payload`, from the copy it carries; concealment where it has none.

        `samples` is the length of the hole: a multiple of 2.5 ms, at most 120 ms, else ValueError. Call it once per hole, then
        `decode` the same payload. Raises `PacketError` when it is not a valid Opus packet.
        """
        if not isinstance(payload, bytes):
            raise _no_bytes(payload)
        size = len(payload)
        if size == 0:
            raise PacketError("empty Opus packet")
        self._check(samples)
        return self._take(self._decode(self._state, payload, size, _PCM, samples, 1))

    def conceal(self, samples: int) -> bytes:
        """`samples` invented from what was heard before: a multiple of 2.5 ms, at most 120 ms, else ValueError.

        It fades, but not to nothing: half a second on, what was a tone is noise 19 dB lower (CELT; SILK is quieter).
        """
        self._check(samples)
        return self._take(self._decode(self._state, None, 0, _PCM, samples, 0))

    def _check(self, samples: int) -> None:
        if not 0 < samples <= self._limit or samples * 400 % self.rate:
            raise ValueError(f"{samples} samples at {self.rate} Hz is not a multiple of 2.5 ms up to 120 ms")

    def _take(self, samples: int) -> bytes:
        if samples <= 0:
            raise _undecodable(samples)
        return _PCM[: samples * SAMPLE_BYTES]  # type: ignore[return-value]  # see `decode`


def _no_bytes(payload: object) -> ctypes.ArgumentError:
    return ctypes.ArgumentError(f"an Opus packet is bytes, not {type(payload).__name__}")


def _undecodable(error: int) -> PacketError:
    return PacketError(f"libopus could not decode the packet (error {error})")


_PACKET = ctypes.create_string_buffer(MAX_PACKET_BYTES)
"""Where every encoder of the process writes: one buffer stays in the cache, one for each of a hundred calls does not. What is in
it is taken at once, and all that encodes runs on one thread."""
_PACKET_AT = ctypes.addressof(_PACKET)


class OpusEncoder:
    """One stream's encoder: mono 20 ms frames at `rate` Hz (one of `RATES`).

    `bitrate` in bits per second (500 to 510,000), `complexity` 0 to 10, `loss` the expected loss in percent (0 to 100), which
    decides how much `fec` spends. FEC exists only in VOIP and AUDIO.
    """

    __slots__ = ("_address", "_bitrate", "_encode", "_frame_bytes", "_library", "_loss", "_samples", "_state", "rate")

    def __init__(
        self,
        rate: int = 24_000,
        *,
        application: Application,
        bitrate: int,
        complexity: int,
        fec: bool = False,
        loss: int = 0,
        dtx: bool = False,
    ) -> None:
        if rate not in RATES:
            raise ValueError(f"libopus cannot encode from {rate} Hz")
        self._library = _lib()
        self.rate = rate
        self._samples = round(rate * PTIME)
        self._frame_bytes = self._samples * SAMPLE_BYTES
        self._state = ctypes.create_string_buffer(self._library.opus_encoder_get_size(1))
        self._address = ctypes.addressof(self._state)
        self._encode = self._library.opus_encode
        if self._library.opus_encoder_init(self._state, rate, 1, Application(application)) != 0:
            raise ValueError(f"libopus refused an encoder at {rate} Hz")
        self._bitrate = self._loss = 0
        self.bitrate = bitrate
        self.loss = loss
        self._control(_SET_COMPLEXITY, complexity)
        self._control(_SET_INBAND_FEC, int(fec))
        self._control(_SET_DTX, int(dtx))
        self._control(_SET_SIGNAL, _SIGNAL_VOICE)

    @property
    def bitrate(self) -> int:
        """Bits per second aimed at; takes effect with the next frame."""
        return self._bitrate

    @bitrate.setter
    def bitrate(self, value: int) -> None:
        if value != self._bitrate:
            if not 500 <= value <= 510_000:
                raise ValueError(f"Opus bitrate {value}")
            self._control(_SET_BITRATE, value)
            self._bitrate = value

    @property
    def loss(self) -> int:
        """Expected loss in percent; takes effect with the next frame."""
        return self._loss

    @loss.setter
    def loss(self, value: int) -> None:
        if value != self._loss:
            self._control(_SET_PACKET_LOSS_PERC, value)
            self._loss = value

    def encode(self, pcm: bytes) -> bytes:
        """One 20 ms frame to one packet. Raises ValueError when `pcm` is of another length."""
        if len(pcm) != self._frame_bytes:
            raise ValueError(f"an Opus frame at {self.rate} Hz is {self._frame_bytes} bytes, not {len(pcm)}")
        size = self._encode(self._address, pcm, self._samples, _PACKET_AT, MAX_PACKET_BYTES)
        # Every argument was checked: an error now means the state was overwritten.
        assert size > 0, f"libopus encode error {size}"
        return _PACKET[:size]  # type: ignore[return-value]  # see `OpusDecoder.decode`

    def reset(self) -> None:
        """Forget everything heard; settings stay."""
        self._library.opus_encoder_ctl(self._state, _RESET_STATE)

    def _control(self, request: int, value: int) -> None:
        if self._library.opus_encoder_ctl(self._state, request, ctypes.c_int32(value)) != 0:
            raise ValueError(f"libopus refused setting {request} = {value}")
