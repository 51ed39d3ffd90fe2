"""RTP in, the caller's audio out: one peer's receive path without sockets, tasks or a clock.

`receive` takes every RTP packet after SRTP; `poll` is called when `deadline` has come. Both give what is new, in order: frames
of PCM16 mono at 16 kHz that join without a gap, and the keys the caller pressed. Where packets are missing the frames are
restored or concealed; the jitter buffer's docstring says when.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import PacketError
from gateway.legs.webrtc.reception import Jump, Reception
from gateway.media import opus
from gateway.media.audio import MODEL_INPUT_RATE, SAMPLE_BYTES, AudioFrame
from gateway.media.codec import SPEECH, Codec, CodecName
from gateway.media.dtmf import Digit, TelephoneEvents
from gateway.media.jitter import Conceal, Copy, JitterBuffer, Play, Quiet, Restore, Step
from gateway.media.red import RedBlock, parse_red
from gateway.media.speech import HUSHED, OPUS_PAUSE_BYTES, Hushed, Speech, speech
from gateway.wire.rtp import RTP_HEADER, RTP_HEADER_BYTES, ReportBlock, RtpPacket, SenderReport, parse_rtp

Heard = AudioFrame | Digit

NOTHING: Sequence[Heard] = ()

RETURN_AFTER = 0.5
"""Seconds of silence of a source before the one it replaced may come back: until then packets of that are stragglers."""

SILENT_AFTER = 1.0
"""Seconds without any packet after which what fills the line counts as silence, not as concealed: a microphone that is off, or a
caller who is gone. It has been comfort noise for long by then."""

KEY_TIMEOUT = 0.2
"""Seconds without any packet of a pressed key before it counts as released: its end was lost three times."""

_header = RTP_HEADER.unpack_from
_frame = tuple.__new__  # of AudioFrame: half of what calling the class costs, for every packet


class Receiver:
    """One peer's incoming audio. Counters are totals since the beginning; `codecs` are those that were agreed."""

    def __init__(self, codecs: Sequence[Codec], audio_level_id: int | None = None) -> None:
        """`audio_level_id`: that of the RFC 6464 header extension, where it was agreed."""
        # The only extension we ever agree to, so its element stands first: id and length-1 of one byte (RFC 8285 §4.2).
        self._level_head = audio_level_id << 4 if audio_level_id is not None else -1
        self._codecs = {codec.payload_type: codec for codec in codecs}
        self._keys = {
            codec.payload_type: TelephoneEvents(codec.clock_rate) for codec in codecs if codec.name is CodecName.TELEPHONE_EVENT
        }
        self._pressed: TelephoneEvents | None = None
        self._release_at = 0.0
        self._ssrc = self._previous_ssrc = -1
        self._heard_at = 0.0
        self._reception: Reception | None = None
        self._voice = -1  # payload type of the speech codec in use
        self._opus = -1  # the same where it is Opus
        self._red = next((codec.payload_type for codec in self._codecs.values() if codec.name is CodecName.RED), -1)
        self._speech: Speech | None = None
        self._buffer: JitterBuffer | None = None
        # Totals of sources and buffers that are gone.
        self._late = self._reordered = self._duplicate = self._lost = self._sent = 0
        self._waited = 0.0
        self._samples = self._restored = self._concealed = self._quiet = 0
        self.packets = 0
        self.bytes = 0
        self.malformed = 0
        self.unnegotiated = 0
        """Packets of a payload type that was not agreed, or that don't belong to the source being heard."""

    # --- packets in ---

    def receive(self, packet: bytes, now: float) -> Sequence[Heard]:
        """A plain RTP packet that came `now`. Nothing in it can raise: what is of no use is counted and dropped."""
        frame = self.in_line(packet, now)
        return self.out_of_line(packet, now) if frame is None else (frame,)

    def in_line(self, packet: bytes, now: float) -> AudioFrame | None:
        """The packet that nearly always comes, in few steps: Opus, plain or with one redundant copy, that simply follows the
        packet before it while nothing is missing. None: it is not that one, and nothing has been done.

        Gives and counts what `out_of_line` would, without its values and lists: among a hundred calls each costs a cache miss.
        """
        size = len(packet)
        if size <= RTP_HEADER_BYTES:
            return None
        first, payload_type, number, timestamp, ssrc = _header(packet)
        voice, reception, buffer, speech = self._opus, self._reception, self._buffer, self._speech
        if ssrc != self._ssrc or reception is None or buffer is None or speech is None:
            return None
        sequence = reception.highest + 1
        if number != sequence & 0xFFFF:
            return None
        begin, lag, hushed = RTP_HEADER_BYTES, 0, False
        if first == 0x90 and size > begin + 6 and packet[begin + 2] == 0:  # an extension of less than 256 words
            begin += 4 + 4 * packet[begin + 3]
            hushed = packet[16] == self._level_head and packet[17] & 127 >= HUSHED and begin > 16 and payload_type == voice
        elif first != 0x80:
            return None
        if payload_type != voice:
            # RFC 2198: five bytes of headers when there is one copy, its length and offset in the first four.
            if payload_type != self._red or size <= begin + 5 or packet[begin] != voice | 0x80 or packet[begin + 4] != voice:
                return None
            lag = packet[begin + 1] << 6 | packet[begin + 2] >> 2
            length = (packet[begin + 2] & 3) << 8 | packet[begin + 3]
            if not (lag and length and opus.SINGLE_TICKS[packet[begin + 5]]):
                return None
            begin += 5 + length
        if size <= begin + OPUS_PAUSE_BYTES:
            return None
        ticks = opus.SINGLE_TICKS[packet[begin]]
        if not ticks or not buffer.follow(sequence, timestamp, ticks, now, lag):
            return None
        reception.follow(timestamp, now)
        self.packets += 1
        self.bytes += size
        self._heard_at = now
        samples = ticks * MODEL_INPUT_RATE // opus.CLOCK_RATE
        self._samples += samples
        try:
            payload = packet[begin:]
            pcm = speech.decode(Hushed(payload) if hushed else payload)
        except PacketError:
            pcm = self._undecodable(speech, samples)
        return _frame(AudioFrame, (pcm, MODEL_INPUT_RATE, now))

    def out_of_line(self, packet: bytes, now: float) -> Sequence[Heard]:
        """`receive` for packets of any kind."""
        try:
            rtp = parse_rtp(packet)
        except PacketError:
            self.malformed += 1
            return NOTHING
        codec = self._codecs.get(rtp.payload_type)
        if codec is None:
            self.unnegotiated += 1
            return NOTHING
        heard: list[Heard] = []
        if rtp.ssrc != self._ssrc:
            if rtp.ssrc == self._previous_ssrc and now - self._heard_at < RETURN_AFTER:
                self.unnegotiated += 1
                return NOTHING
            self._change_source(rtp.ssrc, codec.clock_rate, heard)
        reception = self._reception
        assert reception is not None, "a source that is heard has a reception"
        self.packets += 1
        self.bytes += len(packet)
        self._heard_at = now
        sequence = reception.extend(rtp.sequence)
        if sequence is Jump.STRAY:
            self.unnegotiated += 1
            return heard
        if sequence is Jump.RESTARTED:
            self._end_line(heard)
            sequence = reception.highest
        assert isinstance(sequence, int), "both jumps are dealt with above"
        try:
            self._take(rtp, codec, sequence, now, heard)
        except PacketError:
            self.malformed += 1
        return heard

    def poll(self, now: float) -> Sequence[Heard]:
        """What is due without a packet. Cheap while `deadline` has not come."""
        heard: list[Heard] = []
        if self._pressed is not None and now >= self._release_at:
            digit = self._pressed.finish()
            self._pressed = None
            if digit is not None:
                heard.append(digit)
        buffer = self._buffer
        if buffer is not None and buffer.deadline is not None and now >= buffer.deadline:
            self._say(buffer.poll(now), heard)
        return heard

    @property
    def deadline(self) -> float | None:
        """Loop time at which `poll` must be called; None while there is nothing to wait for."""
        due = self._buffer.deadline if self._buffer is not None else None
        if self._pressed is not None:
            return self._release_at if due is None else min(due, self._release_at)
        return due

    @property
    def gives_up_at(self) -> float | None:
        """Loop time at which audio that a hole holds back goes on, None while nothing is held back: worth a timer of its own."""
        return self._buffer.gives_up_at if self._buffer is not None else None

    def _take(self, rtp: RtpPacket, codec: Codec, sequence: int, now: float, heard: list[Heard]) -> None:
        """Sort a packet by what its payload type means. Raises `PacketError`."""
        if codec.name in SPEECH:
            payload, extension = rtp.payload, rtp.extension
            if extension and extension[0] == self._level_head and extension[1] & 127 >= HUSHED:
                payload = Hushed(payload)
            self._hear(codec, rtp, sequence, payload, (), now, heard)
        elif codec.name is CodecName.RED:
            *older, primary = parse_red(rtp.payload, rtp.timestamp)
            inner = self._codecs.get(primary.payload_type)
            if inner is None or inner.name is CodecName.RED:
                raise PacketError(f"RED of payload type {primary.payload_type}")
            if inner.name in SPEECH:
                same = [block for block in older if block.payload_type == inner.payload_type]
                self._hear(inner, rtp, sequence, primary.payload, same, now, heard)
            else:
                self._accompany(inner, rtp._replace(payload=primary.payload), sequence, now, heard)
        else:
            self._accompany(codec, rtp, sequence, now, heard)

    def _hear(
        self,
        codec: Codec,
        rtp: RtpPacket,
        sequence: int,
        payload: bytes,
        older: Sequence[RedBlock],
        now: float,
        heard: list[Heard],
    ) -> None:
        """A packet of speech, with the copies of older frames that came in it. Raises `PacketError`."""
        if codec.payload_type != self._voice:
            self._change_codec(codec, heard)
        speech, buffer, reception = self._speech, self._buffer, self._reception
        assert speech is not None, "made with the codec"
        assert buffer is not None, "made with the codec"
        assert reception is not None, "made with the source"
        ticks = speech.ticks(payload)
        reception.measure(rtp.timestamp, now)
        copies = [Copy(block.timestamp, block.payload, speech.ticks(block.payload)) for block in older] if older else ()
        self._say(buffer.push(sequence, rtp.timestamp, payload, ticks, now, copies, speech.pauses(payload)), heard)

    def _accompany(self, codec: Codec, rtp: RtpPacket, sequence: int, now: float, heard: list[Heard]) -> None:
        """Comfort noise or a key: no audio of its own. Raises `PacketError`."""
        if self._buffer is not None:
            self._say(self._buffer.skip(sequence, now), heard)
        if codec.name is CodecName.TELEPHONE_EVENT:
            keys = self._keys[codec.payload_type]
            digit = keys.push(rtp.payload, rtp.timestamp, rtp.marker)
            if digit is not None:
                heard.append(digit)
            self._pressed = keys if keys.pressed is not None else None
            self._release_at = now + KEY_TIMEOUT
        elif self._speech is not None:
            if not rtp.payload:
                raise PacketError("empty comfort noise packet")
            self._speech.noise.told(rtp.payload[0] & 127)

    # --- audio out ---

    def _say(self, steps: Sequence[Step], heard: list[Heard]) -> None:
        """Do what the jitter buffer decided."""
        speech = self._speech
        assert speech is not None, "steps come from a buffer, and it was made with a codec"
        for step in steps:
            samples = step.duration * MODEL_INPUT_RATE // speech.clock_rate
            try:
                match step:
                    case Play(payload, _, skip, _, restored):
                        pcm = speech.decode(payload)
                        if skip:
                            filled = skip * MODEL_INPUT_RATE // speech.clock_rate
                            pcm = pcm[filled * SAMPLE_BYTES :]
                            samples -= filled  # counted when it was filled
                        if restored:
                            self._restored += samples
                    case Restore(payload):
                        pcm = speech.restore(payload, samples)
                        self._restored += samples
                    case Conceal(_, at):
                        pcm = speech.conceal(samples)
                        if at - self._heard_at > SILENT_AFTER:
                            self._quiet += samples
                        else:
                            self._concealed += samples
                    case Quiet():
                        pcm = speech.quiet(samples)
                        self._quiet += samples
            except PacketError:
                pcm = self._undecodable(speech, samples)
            self._samples += samples
            if pcm:
                heard.append(AudioFrame(pcm, MODEL_INPUT_RATE, step.at))

    def _undecodable(self, speech: Speech, samples: int) -> bytes:
        """A packet's length could be read, the rest could not: the time is spent all the same."""
        self.malformed += 1
        self._concealed += samples
        return speech.conceal(samples)

    # --- sources and codecs that change ---

    def _change_source(self, ssrc: int, clock_rate: int, heard: list[Heard]) -> None:
        self._end_line(heard)
        if self._reception is not None:
            self._lost += self._reception.lost
            self._sent += self._reception.expected
            self._previous_ssrc = self._ssrc
        self._ssrc = ssrc
        self._reception = Reception(ssrc, clock_rate)

    def _change_codec(self, codec: Codec, heard: list[Heard]) -> None:
        """Another agreed payload type, or the first: the new one goes on with the line where the old one left it."""
        self._end_line(heard)
        self._voice = codec.payload_type
        self._opus = codec.payload_type if codec.name is CodecName.OPUS else -1
        self._speech = speech(codec)
        self._new_buffer()
        assert self._reception is not None, "a source comes before its codec"
        self._reception.change_clock(codec.clock_rate)

    def _end_line(self, heard: list[Heard]) -> None:
        """What is held back goes out; the next packet is the beginning of a new line that joins this one."""
        if self._buffer is not None:
            self._say(self._buffer.flush(), heard)
            self._new_buffer()

    def _new_buffer(self) -> None:
        assert self._speech is not None, "made with the codec"
        old = self._buffer
        if old is not None:
            self._late += old.late
            self._reordered += old.reordered
            self._duplicate += old.duplicates
            self._waited += old.waited
        filled_until = old.filled_until if old is not None else None
        self._buffer = JitterBuffer(self._speech.clock_rate, self._speech.carries_previous, filled_until)

    # --- RTCP ---

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        """The peer's SR came `now`; our next report answers it."""
        if self._reception is not None and report.ssrc == self._ssrc:
            self._reception.on_sender_report(report, now)

    def report_block(self, now: float) -> ReportBlock | None:
        """Our report on the source being heard, since the last one; None before its first packet."""
        return self._reception.report(now) if self._reception is not None else None

    # --- numbers ---

    @property
    def ssrc(self) -> int | None:
        """The source being heard."""
        return self._ssrc if self._reception is not None else None

    @property
    def late(self) -> int:
        """Packets that came after their time had been concealed."""
        return self._late + (self._buffer.late if self._buffer is not None else 0)

    @property
    def reordered(self) -> int:
        """Packets that came behind a later one."""
        return self._reordered + (self._buffer.reordered if self._buffer is not None else 0)

    @property
    def duplicate(self) -> int:
        """Packets that came more than once."""
        return self._duplicate + (self._buffer.duplicates if self._buffer is not None else 0)

    @property
    def lost(self) -> int:
        """Packets that never came (RFC 3550 A.3), over all sources."""
        return self._lost + (self._reception.lost if self._reception is not None else 0)

    @property
    def expected(self) -> int:
        """Packets the peer sent, as far as their numbers tell, over all sources."""
        return self._sent + (self._reception.expected if self._reception is not None else 0)

    @property
    def jitter(self) -> float | None:
        """Interarrival jitter in seconds (RFC 3550 A.8)."""
        return self._reception.jitter if self._reception is not None else None

    @property
    def waited(self) -> float:
        """Seconds that all packets together were held back before decoding; over `packets` it is the buffer's mean delay."""
        return self._waited + (self._buffer.waited if self._buffer is not None else 0.0)

    @property
    def expected_seconds(self) -> float:
        """Seconds of audio given out, of whatever origin."""
        return self._samples / MODEL_INPUT_RATE

    @property
    def fec_seconds(self) -> float:
        """Of these, restored from RED or in-band FEC."""
        return self._restored / MODEL_INPUT_RATE

    @property
    def plc_seconds(self) -> float:
        """Of these, concealed."""
        return self._concealed / MODEL_INPUT_RATE

    @property
    def silence_seconds(self) -> float:
        """Of these, comfort noise where the sender paused, or sends nothing any more."""
        return self._quiet / MODEL_INPUT_RATE
