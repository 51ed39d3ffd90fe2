"""Which Opus encoder runs when, and that nobody hears it change."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.opus import OpusDecoder, has_fec
from gateway.media.voice import CLEAN_FOR, OVERHEAD, OpusSettings, OpusVoice, Profile
from tests.audio import floats, frames, joined, silence, speech, tone

RATE = 24_000
LOUD = frames(tone(440, RATE, 60.0), RATE)
QUIET = silence(RATE, 0.02)


def is_celt(payload: bytes) -> bool:
    """Coded by the MDCT half alone, as restricted-lowdelay always is (RFC 6716 §3.1)."""
    return payload[0] >= 0x80


def test_it_begins_clear_at_the_settings() -> None:
    voice = OpusVoice()
    assert voice.profile is Profile.CLEAR
    payloads = [voice.encode(frame) for frame in LOUD[:50]]
    assert all(map(is_celt, payloads))
    assert sum(map(len, payloads)) * 8 == pytest.approx(64_000, rel=0.05)
    assert OpusVoice(OpusSettings(bitrate=32_000)).bitrate == 32_000


def test_two_percent_is_borne_and_more_is_answered_with_fec() -> None:
    voice = OpusVoice()
    voice.on_loss(0.02, None, 5.0)
    voice.encode(QUIET)
    assert voice.profile is Profile.CLEAR
    voice.on_loss(0.03, None, 10.0)
    voice.encode(QUIET)
    assert voice.profile is Profile.LOSSY
    payloads = [voice.encode(frame) for frame in frames(speech(RATE, 3.0), RATE)]
    assert not any(map(is_celt, payloads))
    assert sum(map(has_fec, payloads)) > len(payloads) / 2


def test_the_change_waits_for_a_pause_but_not_for_long() -> None:
    voice = OpusVoice()
    voice.on_loss(0.1, None, 0.0)
    kinds = [is_celt(voice.encode(frame)) for frame in LOUD[:10]]
    assert all(kinds)
    assert not is_celt(voice.encode(QUIET))

    hurried = OpusVoice()
    hurried.on_loss(0.1, None, 0.0)
    kinds = [is_celt(hurried.encode(frame)) for frame in LOUD[:30]]
    assert kinds == [True] * 24 + [False] * 6  # half a second


def test_back_after_ten_clean_seconds() -> None:
    voice = OpusVoice()
    voice.on_loss(0.05, None, 100.0)
    voice.encode(QUIET)
    for now in (101.0, 105.0, 100.0 + CLEAN_FOR - 0.01):
        voice.on_loss(0.0, None, now)
        voice.encode(QUIET)
        assert voice.profile is Profile.LOSSY
    voice.on_loss(0.0, None, 100.0 + CLEAN_FOR)
    assert [is_celt(voice.encode(frame)) for frame in LOUD[:20]] == [False] * 20  # in no hurry
    assert is_celt(voice.encode(QUIET))
    assert voice.profile is Profile.CLEAR


def test_a_lossy_report_starts_the_ten_seconds_again() -> None:
    voice = OpusVoice()
    for now in (0.0, 6.0):
        voice.on_loss(0.05, None, now)
        voice.encode(QUIET)
    voice.on_loss(0.0, None, 12.0)
    voice.encode(QUIET)
    assert voice.profile is Profile.LOSSY


def test_a_change_no_longer_wanted_does_not_happen() -> None:
    voice = OpusVoice()
    voice.on_loss(0.05, None, 0.0)
    voice.encode(LOUD[0])
    voice.on_loss(0.0, None, CLEAN_FOR)
    assert is_celt(voice.encode(QUIET))


def test_remb_leaves_room_for_headers() -> None:
    voice = OpusVoice()
    voice.on_remb(60_000)
    assert voice.bitrate == 60_000 - OVERHEAD == 40_000
    voice.on_remb(1)
    assert voice.bitrate == OpusSettings().floor
    voice.on_remb(10**12)
    voice.on_loss(0.0, None, 0.0)
    assert OpusSettings().floor < voice.bitrate < 64_000  # comes back step by step
    for _ in range(20):
        voice.on_loss(0.0, None, 0.0)
    assert voice.bitrate == 64_000


def test_the_ceiling_outlives_a_change_of_encoder() -> None:
    voice = OpusVoice()
    voice.on_remb(60_000)
    voice.on_loss(0.05, None, 0.0)
    voice.encode(QUIET)
    assert voice.profile is Profile.LOSSY
    assert voice.bitrate == 40_000


def test_heavy_loss_thins_the_stream_and_a_queue_thins_it_more() -> None:
    steady, queueing = OpusVoice(), OpusVoice()
    for report in range(40):
        steady.on_loss(0.3, 0.05, report * 1.0)
        queueing.on_loss(0.3, 0.05 + 0.1 * report, report * 1.0)
    assert steady.bitrate == OpusSettings().lossy_floor
    assert queueing.bitrate == OpusSettings().floor


def test_moderate_loss_keeps_the_bits() -> None:
    voice = OpusVoice()
    for report in range(20):
        voice.on_loss(0.08, 0.05, report * 1.0)
    assert voice.bitrate == 64_000


@pytest.mark.parametrize("remb", [1, OVERHEAD, 40_000, 10**9])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.5, 1.0])
def test_whatever_is_reported_it_goes_on_encoding(loss: float, remb: int) -> None:
    voice = OpusVoice()
    for step in range(50):
        voice.on_remb(remb)
        voice.on_loss(loss, 59.9, step * 3.0)
        assert voice.encode(LOUD[step])
        assert OpusSettings().floor <= voice.bitrate <= 64_000


def decoded(pcm: bytes, period: int | None, first: Profile = Profile.CLEAR) -> tuple[np.ndarray, list[int]]:
    """What a far end hears at 48 kHz when the encoder changes every `period` frames, and the frames at which it did."""
    voice, decoder = OpusVoice(), OpusDecoder(48_000)
    if first is Profile.LOSSY:
        voice.on_loss(0.05, None, 0.0)
        voice.encode(QUIET)
    heard, edges = [], []
    for index, frame in enumerate(frames(pcm, RATE)):
        if period is not None and index and index % period == 0:
            voice._wanted = Profile.LOSSY if voice.profile is Profile.CLEAR else Profile.CLEAR
            voice._waited = 100.0  # no waiting for a pause: the worst case
            edges.append(index)
        heard.append(decoder.decode(voice.encode(frame)))
    return floats(joined(heard)), edges


def clicks(pcm: bytes, period: int) -> list[float]:
    """For each change of encoder, its sharpest bend in dB over the sharpest that either encoder alone makes there.

    A click is a bend: the second difference of the samples. 40 units (-58 dBFS) is nothing anybody hears, so the comparison
    begins there.
    """
    clear, lossy = (np.abs(np.diff(decoded(pcm, None, profile)[0], n=2)) for profile in Profile)
    heard, edges = decoded(pcm, period)
    bend = np.abs(np.diff(heard, n=2))
    result = []
    for edge in edges:
        around = slice(edge * 960 - 480, edge * 960 + 1_440)
        result.append(20 * np.log10(max(bend[around].max(), 1) / max(clear[around].max(), lossy[around].max(), 40)))
    return result


@pytest.mark.parametrize("frequency", [220, 440, 1_870])
def test_no_click_in_a_tone(frequency: float) -> None:
    found = clicks(tone(frequency, RATE, 8.0), 23)
    assert len(found) > 15
    assert max(found) < 3


def test_no_click_in_speech() -> None:
    found = clicks(speech(RATE), 11) + clicks(speech(RATE), 17)
    assert len(found) > 90
    assert np.median(found) < 0.5
    assert max(found) < 3


def rested(pcm: bytes, *, rests: bool) -> np.ndarray:
    """What a far end hears at 48 kHz of `pcm` after speech and a silence, in which the encoder was let go of or not."""
    voice, decoder = OpusVoice(), OpusDecoder(48_000)
    before = [decoder.decode(voice.encode(frame)) for frame in (*frames(speech(RATE, 2.0), RATE), *[QUIET] * 5)]
    assert before
    if rests:
        voice.rest()
    return floats(joined(decoder.decode(voice.encode(frame)) for frame in frames(pcm, RATE)))


@pytest.mark.parametrize("pcm", [speech(RATE, 3.0), tone(440, RATE, 1.0)], ids=["speech", "tone"])
def test_nobody_hears_that_the_encoder_was_let_go_of_in_silence(pcm: bytes) -> None:
    kept, made = rested(pcm, rests=False), rested(pcm, rests=True)
    assert np.sqrt(np.mean((kept - made) ** 2)) < 0.1 * np.sqrt(np.mean(kept**2))  # less than the coding noise itself
    bend = np.abs(np.diff(made, n=2))[:1_440].max()
    assert bend <= 1.4 * max(np.abs(np.diff(kept, n=2))[:1_440].max(), 40)


def test_after_a_rest_it_goes_on_as_the_link_wants_it() -> None:
    voice = OpusVoice()
    voice.rest()
    voice.on_remb(40_000 + OVERHEAD)
    voice.on_loss(0.05, None, 0.0)
    assert voice.bitrate == 40_000
    assert not is_celt(voice.encode(LOUD[0]))
    assert voice.profile is Profile.LOSSY
    payloads = [voice.encode(frame) for frame in LOUD[1:51]]
    assert sum(map(len, payloads)) * 8 <= 44_000
