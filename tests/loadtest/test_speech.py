"""The shipped speech."""

from __future__ import annotations

import numpy as np

from gateway.loadtest.speech import level_of, quiet, speech
from gateway.media.audio import PTIME, AudioFrame
from gateway.media.opus import OpusDecoder, packet_samples
from gateway.media.vad import VoiceActivity


def test_it_is_twenty_millisecond_packets_with_speech_and_pauses() -> None:
    packets = speech()
    assert 10 < len(packets) * 0.02 < 30
    assert {packet_samples(packet.payload, 48_000) for packet in packets} == {960}
    assert 0.4 < sum(packet.voice for packet in packets) / len(packets) < 0.8
    assert max(len(packet.payload) for packet in packets) < 300


def test_the_levels_are_those_of_the_audio() -> None:
    decoder = OpusDecoder()
    for packet in speech()[:300]:
        heard = level_of(np.frombuffer(decoder.decode(packet.payload), np.int16) / 32768)
        # Two decoders at two rates, each with its own delay: close is all there is.
        assert abs(heard - packet.level) < 25
    assert level_of(np.ones(10)) == 0
    assert level_of(np.zeros(10)) == 127
    assert level_of(np.full(10, 0.1)) == 20


def test_in_a_quiet_room_nobody_speaks_and_the_packets_come_all_the_same() -> None:
    packets, decoder, activity = quiet(), OpusDecoder(), VoiceActivity()
    assert {packet_samples(packet.payload, 48_000) for packet in packets} == {960}
    assert not any(packet.voice for packet in packets)
    heard = [decoder.decode(packet.payload) for packet in packets * 5]
    assert 0 < max(abs(np.frombuffer(pcm, np.int16)).max() for pcm in heard) < 1_000
    assert {activity.push(AudioFrame(pcm, 16_000, at * PTIME)) for at, pcm in enumerate(heard)} == {None}
