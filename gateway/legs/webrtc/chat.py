"""The words that pass beside the audio: RTVI messages over one call's data channel."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable

from aiortc.rtcdtlstransport import RTCDtlsTransport

from gateway.errors import PacketError
from gateway.events import CallEvent, EndReason
from gateway.legs.base import LegSink
from gateway.legs.webrtc.channel import Channel
from gateway.legs.webrtc.report import Tally
from gateway.wire.rtvi import RtviSession, parse

log = logging.getLogger(__name__)

LAST_WORDS = 3.0
"""Seconds that an ending call waits for its data channel to come up, when there is a reason that the caller must read."""


class Chat:
    """One client's. What it says goes to the sink that `sink()` names; None: nobody wants any more."""

    def __init__(
        self,
        dtls: RTCDtlsTransport,
        sink: Callable[[], LegSink | None],
        fail: Callable[[Exception], None],
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        self._sink = sink
        self._tally = tally
        self._opened = asyncio.Event()
        self._rtvi = RtviSession(lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"))
        self.channel = Channel(dtls, on_open=self._opened.set, on_message=self._message, fail=fail, tally=tally, clock=clock)

    def tell(self, event: CallEvent) -> None:
        """News for the client."""
        for text in self._rtvi.tell(event):
            self.channel.post(text)

    async def end(self, reason: EndReason, *, patient: bool) -> None:
        """Say why it is over; `patient`: wait a moment for a channel that is not up yet, because it must be read."""
        for text in self._rtvi.ended(reason):
            self.channel.post(text)
        if patient and not self.channel.is_open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._opened.wait()

    async def close(self) -> None:
        """Put what was said on the wire, then let go."""
        if self.channel.is_open:
            await self.channel.flush()
        await self.channel.stop()

    def _message(self, text: str) -> None:
        try:
            message = parse(text)
        except PacketError as exc:
            self._tally.channel_malformed += 1
            log.debug("x message: %s", exc)
            return
        sink = self._sink()
        if message is None or sink is None:
            return
        for reply in self._rtvi.heard(message):
            self.channel.post(reply)
        sink.message(message)
