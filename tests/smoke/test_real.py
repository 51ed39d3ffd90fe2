"""The look at the real service: itself tried on the emulator, and on the service where there is a key."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.emulator import Emulator
from gateway.events import TokensUsed
from gateway.model.base import InputTranscript, OutputTranscript
from tests.smoke import real

KEY = os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY") or ""


def check(finding: real.Finding) -> None:
    """A spoken answer, both transcripts, usage, and a resumption handle used once."""
    assert finding.setup > 0
    assert finding.spoken > 0.3
    assert finding.text(InputTranscript).strip()
    assert finding.text(OutputTranscript).strip()
    assert {event.direction for event in finding.events if isinstance(event, TokensUsed)} == {"input", "output"}
    assert finding.resumed == "ok"
    assert finding.second_answer.strip()


def test_the_look_itself() -> None:
    async def body() -> None:
        async with Emulator(port=0, first_chunk=0.02, speed=0.0, await_playback=False, setup_delay=0.0) as emulator:
            service = real.Service("KEY", emulator.base_url, str(emulator.ca_file))
            finding = await real.converse(service)
            check(finding)
            assert all(finding.lines(service.model))
            first, second = emulator.sessions[:2]
            assert second.setup is not None
            assert second.setup["sessionResumption"]["handle"] in first.handles
            found = dict(line.split(": ", 1) for line in await real.facts(service))
            assert found["a stale handle"].startswith("closed with 1008: ")
            assert found["an unknown model"].startswith("closed with 1008: ")
            assert found["513 functions"].startswith("closed with 1007: ")
            assert found["a NON_BLOCKING function"] == "taken"
            assert found["the first messages, on the wire"].startswith('binary {"setupComplete"')

    asyncio.run(body())


@pytest.mark.skipif(not KEY, reason="no GEMINI_API_KEY or GOOGLE_API_KEY: the real service is not asked")
def test_the_real_service(capsys: pytest.CaptureFixture[str]) -> None:
    service = real.Service(KEY)

    async def body() -> tuple[real.Finding, list[str]]:
        return await real.converse(service), await real.facts(service)

    finding, facts = asyncio.run(body())
    with capsys.disabled():
        print("", *finding.lines(service.model), *facts, sep="\n")
    check(finding)
    assert finding.usd(service.model) < 0.02
