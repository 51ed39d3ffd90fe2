"""From audio to turns."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.emulator.ears import CallerStarted, CallerStopped, Ears
from gateway.emulator.models import Backend
from gateway.emulator.schema import WireError
from gateway.emulator.setup_check import check_setup
from tests.emulator.playing import MODEL, loud, quiet


def ears(**detection: object) -> Ears:
    body = {"model": MODEL, "realtimeInputConfig": {"automaticActivityDetection": detection}}
    return Ears(check_setup(body, Backend.DEVELOPER, "v1beta"), 0.5)


def test_a_turn_has_a_little_before_and_after() -> None:
    started, stopped = ears().hear(quiet(1.0) + loud(1.0) + quiet(1.0), 16_000)
    assert isinstance(started, CallerStarted)
    assert started.offset == pytest.approx(1.0, abs=0.02)
    assert isinstance(stopped, CallerStopped)
    assert (stopped.began, stopped.ended) == (pytest.approx(1.0, abs=0.02), pytest.approx(2.0, abs=0.02))
    assert len(stopped.heard.pcm) / 32_000 == pytest.approx(1.35, abs=0.03)
    assert stopped.heard.seconds == pytest.approx(1.0, abs=0.03)
    assert loud(1.0)[3200:-3200] in stopped.heard.pcm


def test_memory_stays_small_and_a_turn_at_most_a_minute() -> None:
    listener = ears()
    for _ in range(100):
        listener.hear(quiet(1.0), 16_000)
    assert len(listener._audio) < 3 * 32_000
    for _ in range(70):
        listener.hear(loud(1.0), 16_000)
    (stopped,) = listener.hear(quiet(1.0), 16_000)
    assert isinstance(stopped, CallerStopped)
    assert 59 < len(stopped.heard.pcm) / 32_000 < 63
    assert stopped.heard.seconds == pytest.approx(70, abs=0.1)


def test_the_rate_may_change() -> None:
    listener = ears()
    listener.hear(quiet(1.0), 16_000)
    (started,) = listener.hear(loud(1.0, 8000), 8_000)
    assert isinstance(started, CallerStarted)
    assert started.offset == pytest.approx(1.0, abs=0.02)
    (stopped,) = listener.hear(quiet(0.1), 16_000)
    assert isinstance(stopped, CallerStopped)
    assert stopped.heard.rate == 8000


def test_the_clients_silence_duration_and_prefix_padding_count() -> None:
    def known_after(listener: Ears, pcm: bytes, wanted: type) -> float:
        for at in range(0, len(pcm), 640):
            if any(isinstance(event, wanted) for event in listener.hear(pcm[at : at + 640], 16_000)):
                return (at + 640) / 32_000
        raise AssertionError("never")

    sound = loud(1.0) + quiet(2.0)
    assert known_after(ears(silenceDurationMs=200), sound, CallerStopped) == pytest.approx(1.2, abs=0.03)
    assert known_after(ears(silenceDurationMs=1500), sound, CallerStopped) == pytest.approx(2.5, abs=0.03)
    assert known_after(ears(prefixPaddingMs=300), sound, CallerStarted) == pytest.approx(0.3, abs=0.03)
    assert known_after(ears(), sound, CallerStarted) == pytest.approx(0.06, abs=0.03)


def test_the_clients_sensitivities_count() -> None:
    whisper = (np.frombuffer(loud(1.0), "<i2") * 0.025).astype("<i2").tobytes()  # about −44 dBFS
    assert ears().hear(whisper, 16_000)
    assert not ears(startOfSpeechSensitivity="START_SENSITIVITY_LOW").hear(whisper, 16_000)
    breath = (np.frombuffer(loud(1.0), "<i2") * 0.012).astype("<i2").tobytes()  # about −51 dBFS
    fading = loud(0.5) + breath + quiet(0.6)
    (_, early) = ears().hear(fading, 16_000)
    (_, late) = ears(endOfSpeechSensitivity="END_SENSITIVITY_LOW", silenceDurationMs=500).hear(fading, 16_000)
    assert isinstance(late, CallerStopped)
    assert isinstance(early, CallerStopped)
    assert early.ended == pytest.approx(0.5, abs=0.03)
    assert late.ended > 1.2


def test_marked_turns_are_exact() -> None:
    listener = ears(disabled=True)
    assert listener.hear(loud(1.0), 16_000) == []
    (started,) = listener.start()
    assert started == CallerStarted(1.0)
    listener.hear(quiet(0.25) + loud(0.25), 16_000)
    (stopped,) = listener.stop()
    assert isinstance(stopped, CallerStopped)
    assert stopped.heard.pcm == quiet(0.25) + loud(0.25)
    for misuse in (listener.stop, listener.end_stream):
        with pytest.raises(WireError):
            misuse()
    listener.start()
    with pytest.raises(WireError):
        listener.start()
