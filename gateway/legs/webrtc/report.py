"""What both audio directions of a leg did since the last report. Totals in, differences out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.events import MediaReport
from gateway.legs.webrtc.receiver import Receiver
from gateway.legs.webrtc.sender import Sender


class _Totals(NamedTuple):
    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    lost_in: int = 0
    expected_in: int = 0
    lost_out: int = 0
    late: int = 0
    reordered: int = 0
    duplicate: int = 0
    malformed: int = 0
    srtp_failed: int = 0
    channel_malformed: int = 0
    channel_excess: int = 0
    fec_seconds: float = 0.0
    plc_seconds: float = 0.0
    silence_seconds: float = 0.0
    expected_seconds: float = 0.0
    waited: float = 0.0


@dataclass(slots=True)
class Tally:
    """What the leg itself counts, as totals since the beginning."""

    malformed: int = 0
    """RTCP packets that do not parse."""
    channel_malformed: int = 0
    """SCTP packets and messages that made no sense."""
    channel_excess: int = 0
    """Messages that were too long or too many, and SCTP that asked for more room than there is."""
    srtp_failed: int = 0
    """Packets that failed authentication."""
    repeated: int = 0
    """Packets that came twice, caught by SRTP's replay window."""


class MediaReports:
    """Makes MediaReports, each from where the last one ended."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._before = _Totals()

    def make(self, receiver: Receiver, sender: Sender, tally: Tally, now: float, unsent: int = 0) -> MediaReport:
        """Everything since the last call. Ratios are None where nothing happened that they could be about.

        `unsent`: of the sender's prepared packets, those that have not left yet.
        """
        packets_out, bytes_out = sender.left(unsent)
        totals = _Totals(
            packets_in=receiver.packets,
            bytes_in=receiver.bytes,
            packets_out=packets_out,
            bytes_out=bytes_out,
            lost_in=receiver.lost,
            expected_in=receiver.expected,
            lost_out=sender.lost,
            late=receiver.late,
            reordered=receiver.reordered,
            duplicate=receiver.duplicate + tally.repeated,
            malformed=receiver.malformed + receiver.unnegotiated + tally.malformed,
            srtp_failed=tally.srtp_failed,
            channel_malformed=tally.channel_malformed,
            channel_excess=tally.channel_excess,
            fec_seconds=receiver.fec_seconds,
            plc_seconds=receiver.plc_seconds,
            silence_seconds=receiver.silence_seconds,
            expected_seconds=receiver.expected_seconds,
            waited=receiver.waited,
        )
        new = _Totals._make(after - before for after, before in zip(totals, self._before, strict=True))
        report = MediaReport(
            window=now - self._at,
            packets_in=new.packets_in,
            bytes_in=new.bytes_in,
            packets_out=new.packets_out,
            bytes_out=new.bytes_out,
            # Late and repeated packets take back losses of the window before (RFC 3550 A.3); counters never go down.
            lost_in=max(0, new.lost_in),
            lost_out=max(0, new.lost_out),
            late=new.late,
            reordered=new.reordered,
            duplicate=new.duplicate,
            malformed=new.malformed,
            srtp_failed=new.srtp_failed,
            channel_malformed=new.channel_malformed,
            channel_excess=new.channel_excess,
            fec_seconds=new.fec_seconds,
            plc_seconds=new.plc_seconds,
            silence_seconds=new.silence_seconds,
            expected_seconds=new.expected_seconds,
            loss_ratio_in=min(1.0, max(0.0, new.lost_in / new.expected_in)) if new.expected_in > 0 else None,
            loss_ratio_out=sender.loss,
            jitter_in=receiver.jitter,
            jitter_out=sender.jitter,
            rtt=sender.rtt,
            jitter_buffer_delay=new.waited / new.packets_in if new.packets_in else None,
        )
        self._at, self._before = now, totals
        return report
