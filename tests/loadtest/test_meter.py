"""Counting what was heard."""

from __future__ import annotations

from gateway.loadtest.meter import StreamMeter, percentile


def feed(meter: StreamMeter, *packets: tuple[float, int]) -> None:
    """Packets as (arrival, number): sequence and timestamp follow from the number."""
    for at, number in packets:
        meter.arrived(at, number & 0xFFFF, number * 960 & 0xFFFFFFFF)


def test_gaps_are_measured_between_neighbours_only() -> None:
    meter = StreamMeter()
    feed(meter, (0.0, 1), (0.02, 2), (0.05, 3), (0.11, 6), (0.13, 7))
    assert [round(gap, 3) for gap in meter.gaps] == [0.02, 0.03, 0.02]
    assert (meter.packets, meter.lost, meter.reordered) == (5, 2, 0)
    assert meter.rate == 4 / 0.13


def test_a_pause_of_the_sender_is_no_gap() -> None:
    meter = StreamMeter()
    meter.arrived(0.0, 1, 960)
    meter.arrived(0.4, 2, 960 * 21)  # next in sequence, 400 ms later in media time
    assert len(meter.gaps) == 0
    assert meter.lost == 0


def test_sequence_and_timestamp_wrap() -> None:
    meter = StreamMeter()
    meter.arrived(0.0, 0xFFFF, 0xFFFFFFFF - 959)
    meter.arrived(0.02, 0, 0)
    assert meter.lost == 0
    assert len(meter.gaps) == 1


def test_late_and_double_packets_are_no_loss() -> None:
    meter = StreamMeter()
    feed(meter, (0.0, 1), (0.02, 3), (0.03, 2), (0.04, 3), (0.06, 4))
    assert (meter.packets, meter.lost, meter.reordered) == (5, 1, 2)
    assert meter.highest == 4


def test_percentiles() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(1000), 0.99) == 990
    assert percentile([1.0], 1.0) == 1.0
