"""What pongs prove, and how often they are asked for."""

from __future__ import annotations

from gateway.wire.gemini_pulse import IN_FLIGHT, MAX_IN_FLIGHT, MAX_PINGS, PING_EVERY, UNKNOWN_IN_FLIGHT, Ping, Pulse


def test_a_pong_marks_what_has_been_read() -> None:
    pulse = Pulse(100)
    assert pulse.read == 100
    ping = pulse.ping(5000, 10.0)
    assert ping == Ping(5000, 10.0)
    assert pulse.ping(6000, 10.0 + PING_EVERY / 2) is None
    assert ping is not None
    pulse.pong(ping, 10.05)
    assert pulse.read == 5000
    assert pulse.pong_at == 10.05


def test_pings_end_where_nobody_answers() -> None:
    pulse = Pulse(0)
    sent = [pulse.ping(n, n * PING_EVERY) for n in range(MAX_PINGS + 3)]
    assert sent.count(None) == 3
    last = sent[MAX_PINGS - 1]
    assert last is not None
    pulse.pong(last, 100.0)  # answers all before it, too
    assert pulse.ping(9, 100.0) is not None


def test_it_is_known_when_the_next_one_is_due() -> None:
    pulse, sent = Pulse(0), []
    for now in [0.0, 0.5, 1.9, 2.0, 3.9, 4.0, 6.5, 8.4, 8.5, 30.0]:
        due = now >= pulse.due_at
        ping = pulse.ping(0, now)
        assert (ping is not None) is due, now
        sent += [ping] * (ping is not None)
    assert [ping.sent_at for ping in sent if ping] == [0.0, 2.0, 4.0, 6.5]
    assert sent[0] is not None
    pulse.pong(sent[0], 31.0)
    assert pulse.due_at == 6.5 + PING_EVERY


def test_pongs_out_of_order_or_of_another_socket() -> None:
    pulse = Pulse(0)
    first, second = pulse.ping(1, 0.0), pulse.ping(2, PING_EVERY)
    assert first is not None
    assert second is not None
    pulse.pong(second, 3.0)
    pulse.pong(first, 3.1)
    pulse.pong(Ping(77, 2.5), 3.2)
    assert (pulse.read, pulse.pong_at) == (2, 3.0)


def test_a_round_trip_says_what_may_be_on_its_way() -> None:
    pulse = Pulse(0)
    assert pulse.in_flight == UNKNOWN_IN_FLIGHT
    assert not pulse.sure
    now = 0.0
    for trip, in_flight, sure in ((0.001, IN_FLIGHT, True), (0.1, 0.1, True), (5.0, MAX_IN_FLIGHT, False)):
        now += 10.0
        ping = pulse.ping(0, now)
        assert ping is not None
        pulse.pong(ping, now + trip)
        assert abs(pulse.in_flight - in_flight) < 1e-9
        assert pulse.sure is sure


def test_the_next_socket_is_as_far_away() -> None:
    """A socket that is lost before its first pong would have more audio doubled than it must."""
    first = Pulse(0)
    ping = first.ping(0, 0.0)
    assert ping is not None
    first.pong(ping, 0.15)
    second = Pulse(500, first)
    third = Pulse(700, second)
    assert abs(third.in_flight - 0.15) < 1e-9
    assert not third.sure
    ping = third.ping(700, 20.0)
    assert ping is not None
    third.pong(ping, 20.001)
    assert third.in_flight == IN_FLIGHT
