"""Credit, taken counts and what stalls, between two muxes (protocol section 7)."""

from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.errors import END, Reason, SessionClosed, SessionLost
from chanlink.limits import Limits
from chanlink.wire.credit import CALM_BYTES, CALM_SECONDS
from chanlink.wire.h2 import frames
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .muxes import (
    Pair,
    Transcript,
    frames_of,
    message,
    overdue_at,
    read_all,
    send,
    take,
    take_all,
)

WINDOW = Limits().stream_window


# --- credit (section 7) -------------------------------------------------------------------------


def test_credit_returns_when_something_is_taken_and_not_before() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    bodies = 0
    while sender.outgoing.can_write():
        send(sender, bytes(1_020))
        bodies += 1
    for _ in range(3):
        pair.turn()
        pair.now += 10
    assert bodies == 16
    assert not sender.outgoing.can_write()
    for _ in range(7):
        assert take(receiver) is not None
    pair.turn()
    assert not sender.outgoing.can_write()
    assert take(receiver) is not None  # half of the window
    pair.turn()
    assert sender.outgoing.credit == WINDOW // 2


def test_data_beyond_the_window_ends_the_connection() -> None:
    script = Transcript()
    script.say(script.opening(1), script.data(1, bytes(WINDOW)))
    script.refused(script.data(1, b"x"))


@pytest.mark.parametrize("size", [20_000, 1024 * 1024, 4 * 1024 * 1024])
def test_a_message_longer_than_the_window_arrives(size: int) -> None:
    pair = Pair(Limits(message_size=4 * 1024 * 1024))
    sender, receiver = pair.channel()
    body = bytes(range(256)) * (size // 256)
    send(sender, body)
    assert not sender.outgoing.can_write()
    pair.turn()
    assert take(receiver) == body
    sender.finish(END)
    pair.check_empty()


def test_long_messages_arrive_though_the_budget_is_too_small_for_all_at_a_time() -> None:
    mib = 1024 * 1024
    pair = Pair(Limits(session_budget=5 * mib, message_size=4 * mib))
    channels = [pair.channel() for _ in range(12)]
    sizes = [mib, 4 * mib, 3 * mib, 20_000]
    for index, (sender, _) in enumerate(channels):
        for step in range(3):
            send(sender, bytes(sizes[(index + step) % 4]))
        sender.finish(END)
    got = [0] * len(channels)
    for _ in range(100):
        pair.turn()
        assert pair.server.mux.credit.budget >= 0
        for index, (_, receiver) in enumerate(channels):
            if take(receiver) is not None:
                got[index] += 1
        if got == [3] * len(channels):
            break
    assert got == [3] * len(channels)
    pair.check_empty()


def test_a_message_over_the_whole_budget_arrives_when_nothing_else_is_lent() -> None:
    pair = Pair(Limits(session_budget=50_000))
    channels = [pair.channel() for _ in range(4)]
    for sender, _ in channels:
        send(sender, bytes(300_000))
        sender.finish(END)
    for _ in range(20):
        pair.turn()
        for _, receiver in channels:
            take(receiver)
    assert [receiver.incoming.taken_count for _, receiver in channels] == [1] * 4
    pair.check_empty()


def test_who_borrows_first_is_served_first_and_a_refused_one_steps_aside() -> None:
    pair = Pair(Limits(session_budget=500_000))
    (first, one), (second, two), (third, three) = (pair.channel() for _ in range(3))
    for sender in (first, second, third):
        send(sender, bytes(400_000))
        pair.turn()
    assert [stream.incoming.size for stream in (one, two, three)] == [400_004, WINDOW, WINDOW]
    two.refuse(Reason("refused", "closed"))
    assert take(one) is not None
    pair.turn()
    assert three.incoming.size == 400_004
    assert second.out_reason == Reason("refused", "closed")


@pytest.mark.parametrize("small", [1, 96, 4_000, 8_180])
@pytest.mark.parametrize("size", [8_189, 8_192, 8_200, 12_000, 16_379, 16_380, 16_384])
def test_less_than_half_a_window_that_was_taken_does_not_keep_the_next_message_waiting(small: int, size: int) -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    for round_ in range(6):
        pair.now += 10  # too slow for windows to grow
        send(sender, bytes(small), bytes(size))
        pair.turn()
        assert take(receiver) == bytes(small)
        pair.turn()
        assert take(receiver) == bytes(size), round_
        pair.turn()
    assert receiver.incoming.window.size == WINDOW
    sender.finish(END)
    pair.check_empty()


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=30), st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_messages_of_any_size_arrive_in_order_as_long_as_the_application_takes(
    sizes: list[int], data: st.DataObject
) -> None:
    pair = Pair(Limits(stream_window=1_024, session_budget=60_000))
    channels = [pair.channel() for _ in range(3)]
    queued: list[list[bytes]] = [[], [], []]
    got: list[list[bytes]] = [[], [], []]
    for number, size in enumerate(sizes):
        queued[number % 3].append(bytes([number]) * size)
    plan = [list(one) for one in queued]
    for _ in range(20 * len(sizes) + 20):
        for (sender, _), waiting in zip(channels, plan, strict=True):
            while waiting and sender.outgoing.can_write():
                send(sender, waiting.pop(0))
        pair.turn()
        readers = data.draw(st.sampled_from([[0, 1, 2], [0], [1, 2]])) if any(plan) else [0, 1, 2]
        for index in readers:
            if (body := take(channels[index][1])) is not None:
                got[index].append(body)
    assert got == queued
    for sender, _ in channels:
        sender.finish(END)
    pair.check_empty()


def pump(pair: Pair, near: Stream, far: Stream, turns: int, piece: int, *, seconds: float = 0.0) -> None:
    for _ in range(turns):
        while near.outgoing.can_write():
            near.outgoing.write(bytes(piece))
        pair.turn()
        read_all(far)
        pair.now += seconds


def pump_out(pair: Pair, far: Stream) -> None:
    """All that is under way is read, and the credit for it comes."""
    pair.turn()
    read_all(far)
    pair.turn()


def test_a_window_grows_with_what_is_read_quickly_up_to_its_bound() -> None:
    pair = Pair(Limits(stream_window_max=256 * 1024))
    near, far = pair.open("bytes")
    widths = set()
    for _ in range(30):
        pump(pair, near, far, 1, 4_096)
        widths.add(far.incoming.window.size)
    assert max(widths) == 256 * 1024
    assert pair.server.mux.credit.budget == Limits().session_budget - 256 * 1024 + WINDOW
    near.finish(END)
    far.finish(END)
    pair.check_empty()


def test_a_window_does_not_grow_for_a_slow_reader_nor_for_one_that_never_reads() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    pump(pair, near, far, 10, 4_096, seconds=0.1)
    assert far.incoming.window.size == WINDOW
    sender, receiver = pair.channel()
    send(sender, bytes(100_000))
    pair.turn()
    assert (receiver.incoming.window.size, receiver.incoming.size) == (WINDOW, 100_004)


def test_a_long_round_trip_lets_windows_grow() -> None:
    pair = Pair()
    pair.server.mux.credit.round_trip = 0.2
    near, far = pair.open("bytes")
    pump(pair, near, far, 10, 4_096, seconds=0.1)
    assert far.incoming.window.size > WINDOW


def test_the_shortest_round_trip_counts_and_growth_measures_it() -> None:
    pair = Pair()
    _, far = pair.open("bytes")
    pair.server.mux.credit.measured(5.0)
    far.incoming.window.unreturned = WINDOW // 2
    pair.server.mux.credit_due(far)
    frames_of(pair.server.mux, pair.now)  # credit, and a PING
    answer = frames.FRAME_HEADER.pack(0, 8, 6, 1, 0) + b"measured"
    pair.server.mux.receive_data(answer, pair.now + 0.25)
    assert pair.server.mux.credit.round_trip == 0.25
    pair.server.mux.credit.measured(5.0)
    assert pair.server.mux.credit.round_trip == 0.25


def test_windows_grow_in_longer_steps_over_a_long_way() -> None:
    steps = []
    for round_trip in (0.001, 0.1):
        pair = Pair()
        pair.server.mux.credit.round_trip = round_trip
        near, far = pair.open("bytes")
        pump(pair, near, far, 2, 4_096)
        steps.append(far.incoming.window.size // WINDOW)
    assert steps == [2, 8]


def test_a_byte_stream_gets_little_credit_while_others_exchange_messages() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    while far.incoming.window.size < 1024 * 1024:
        pump(pair, near, far, 1, 64_000)
    assert near.outgoing.credit > CALM_BYTES
    sender, receiver = pair.channel()
    send(sender, b"talk")
    pair.turn()
    assert take(receiver) == b"talk"
    for _ in range(40):
        pump(pair, near, far, 1, 64_000)
    assert 0 < near.outgoing.credit <= CALM_BYTES
    pair.now += CALM_SECONDS
    pump(pair, near, far, 2, 64_000)
    assert near.outgoing.credit > CALM_BYTES


@pytest.mark.parametrize(("round_trip", "times"), [(0.001, 1), (0.1, 10)])
def test_a_window_grows_while_others_exchange_messages_by_as_much_as_the_way_is_long(
    round_trip: float, times: int
) -> None:
    pair = Pair()
    pair.server.mux.credit.round_trip = round_trip
    pair.server.mux.credit._measuring = True  # it would find that there is no way at all
    near, far = pair.open("bytes")
    sender, receiver = pair.channel()
    for _ in range(60):
        send(sender, b"talk")
        pair.turn()
        assert take(receiver) == b"talk"
        pump(pair, near, far, 1, 64_000)
    while near.outgoing.queued:
        pump_out(pair, far)
    pump_out(pair, far)
    assert times * CALM_BYTES // 2 <= near.outgoing.credit <= times * CALM_BYTES


def test_of_pings_that_measure_one_is_under_way_at_a_time() -> None:
    """Else the answer to the first one would be taken for a quick answer to the second one."""
    pair = Pair()
    _, far = pair.open("bytes")
    server = pair.server.mux
    server.credit.measured(3.0)
    answer = frames.FRAME_HEADER.pack(0, 8, 6, 1, 0) + b"measured"
    for seconds in (0, 1.1, 2.2):
        far.incoming.window.unreturned = far.incoming.window.size // 2
        server.credit_due(far)
        assert (b"measured" in frames_of(server, pair.now + seconds)) is (seconds == 0)
    server.receive_data(answer, pair.now + 2.5)
    assert server.credit.round_trip == 2.5
    server.receive_data(answer, pair.now + 2.6)  # one that was not asked for
    assert server.credit.round_trip == 2.5


def test_a_round_trip_that_no_handshake_has_measured_is_measured() -> None:
    pair = Pair()
    near, far = pair.open("bytes")
    assert pair.server.mux.credit.round_trip == 0
    near.outgoing.write(bytes(WINDOW))
    pair.turn()
    pair.now += 0.1  # what comes is never quick, as long as nobody knows that the way is long
    read_all(far)
    assert b"measured" in frames_of(pair.server.mux, pair.now)


def test_growth_leaves_as_much_of_the_budget_as_a_message_may_need() -> None:
    limits = Limits(session_budget=1024 * 1024, message_size=600 * 1024)
    pair = Pair(limits)
    streams = [pair.open("bytes") for _ in range(5)]
    for _ in range(20):
        for near, far in streams:
            pump(pair, near, far, 1, 4_096)
    grown = sum(far.incoming.window.size - WINDOW for _, far in streams)
    assert grown == 424 * 1024
    assert pair.server.mux.credit.budget == limits.session_budget - grown
    sender, receiver = pair.channel()
    send(sender, bytes(limits.message_size))
    pair.turn()
    assert take(receiver) == bytes(limits.message_size)


def test_the_memory_of_all_windows_together_is_bounded() -> None:
    """Channels x window + budget, however quickly the application takes, and whatever the peer has to say."""
    budget, count = 1024 * 1024, 50
    pair = Pair(Limits(session_budget=budget, message_size=100_000))
    streams = [pair.open("bytes") for _ in range(count // 2)] + [pair.channel() for _ in range(count // 2)]
    for turn in range(60):
        for near, far in streams:
            while near.outgoing.can_write():
                send(near, bytes(30_000))
            if turn < 40:  # after that nobody takes anything any more
                read_all(far) if far.is_bytes else take_all(far)
        pair.turn()
        assert sum(far.incoming.size for _, far in streams) <= count * WINDOW + budget
    assert sum(far.incoming.size for _, far in streams) > count * WINDOW  # they have grown


def test_a_channel_that_nobody_reads_slows_no_other() -> None:
    pair = Pair()
    stuck = [pair.channel()[0] for _ in range(10)]
    for sender in stuck:
        while sender.outgoing.can_write():
            send(sender, bytes(1_000))
    sender, receiver = pair.channel()
    for _ in range(200):
        send(sender, bytes(1_000))
        pair.turn()
        assert take(receiver) == bytes(1_000)


def test_the_first_turn_waits_for_the_window_of_the_connection() -> None:
    """It is 65,535 until the peer's first frames are there."""
    pair = Pair(start=False)
    streams = [pair.client.mux.open(Opening("bytes", service="service")) for _ in range(10)]
    for stream in streams:
        stream.outgoing.write(bytes(WINDOW))
    data = b""
    while more := frames_of(pair.client.mux, pair.now):
        data += more
    assert 65_535 < len(data) < 67_000
    pair.server.mux.receive_data(data, pair.now)
    pair.turn()
    assert [stream.incoming.size for stream in pair.server.opened] == [WINDOW] * 10


def test_more_than_the_window_of_the_connection_gets_through() -> None:
    pair = Pair(Limits(stream_window=2**20))
    for side in (pair.client, pair.server):  # as if 1 GiB less 2 MiB had been sent already
        side.mux._h2.outbound_flow_control_window -= 2**30 - 2**21
        side.mux._h2._inbound_flow_control_window_manager.current_window_size -= 2**30 - 2**21
    near, far = pair.open("bytes")
    for _ in range(5):
        for _ in range(16):
            near.outgoing.write(bytes(2**16))
        pair.turn()
        assert len(read_all(far)) == 2**20


# --- TAKEN --------------------------------------------------------------------------------------


def test_a_capacity_bounds_what_is_under_way_and_each_take_is_told(pair: Pair) -> None:
    for capacity in (0, 1, 3):
        sender, receiver = pair.channel(capacity=capacity)
        for number in range(10):
            while sender.outgoing.can_write():
                send(sender, b"x")
            pair.turn()
            assert sender.outgoing.sent - sender.outgoing.peer_taken == max(capacity, 1)
            assert take(receiver) == b"x"
            pair.turn()
            assert sender.outgoing.peer_taken == number + 1


def taken_frames(script: Transcript) -> list[Any]:
    return [one[2] for one in script.heard() if one[0] == "TAKEN"]


def test_taken_is_said_when_the_inbox_is_empty_or_half_a_window_was_taken() -> None:
    script = Transcript()
    script.say(script.opening(1), script.data(1, message(bytes(1_000)) * 16))
    (receiver,) = script.side.opened
    said = []
    for _ in range(16):
        assert take(receiver) is not None
        said += taken_frames(script)
    assert said == [9, 16]


def test_taken_is_said_once_a_turn() -> None:
    script = Transcript()
    script.say(script.opening(1, service="service", capacity=10), script.data(1, message(b"x") * 10))
    (receiver,) = script.side.opened
    assert len(take_all(receiver)) == 10
    assert taken_frames(script) == [10]


def test_what_is_taken_after_the_end_is_still_told() -> None:
    """A session may be lost before the last message is taken; then the sender knows at least that much."""
    pair = Pair()
    sender, receiver = pair.channel(capacity=5)
    send(sender, b"1", b"2", b"3")
    sender.finish(END)
    pair.turn()
    assert take(receiver) == b"1"
    pair.turn()
    assert sender.outgoing.peer_taken == 1
    lost = SessionClosed()
    pair.client.mux.lose(lost)
    assert sender.out_reason is not None
    error = sender.out_reason.error(sender.outgoing.peer_taken)
    assert isinstance(error, SessionLost)
    assert error.taken == 1


def test_a_taken_count_that_falls_or_lies_changes_nothing() -> None:
    script = Transcript(client_side=True)
    sender = script.mux.open(Opening("receiver", service="service"))
    send(sender, b"1", b"2", b"3")
    script.answers()
    for count, known in ((2, 2), (1, 2), (0, 2), (2**64 - 1, 2), (4, 2), (3, 3)):
        script.say(script.taken(1, count))
        assert sender.outgoing.peer_taken == known


# --- what stalls --------------------------------------------------------------------------------


def test_a_part_of_a_message_that_makes_no_progress_fails_its_channel() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    sender.outgoing.write(message(b"first") + message(bytes(100))[:50])
    pair.turn()
    assert take(receiver) == b"first"
    pair.now += 29
    pair.server.mux.tick(overdue_at(pair.now))
    assert receiver.exhausted() is None
    pair.now += 1
    pair.server.mux.tick(overdue_at(pair.now))
    reason = receiver.exhausted()
    assert reason is not None
    assert (reason.kind, reason.code) == ("failed", "too-slow")
    pair.turn()
    assert sender.out_reason == Reason("refused", "too-slow", "a message made no progress")
    pair.check_empty()


def test_a_message_that_waited_for_our_credit_has_its_time_from_then_on() -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    send(sender, bytes(10_000), bytes(12_000))
    pair.turn()
    pair.now += 60  # the application takes its time
    pair.server.mux.tick(overdue_at(pair.now))
    assert take(receiver) == bytes(10_000)
    assert take(receiver) is None
    pair.carry(pair.server, pair.client)
    pair.server.mux.tick(overdue_at(pair.now))
    assert receiver.exhausted() is None
    pair.turn()
    assert take(receiver) == bytes(12_000)


@pytest.mark.parametrize("waiting", [b"", message(b"whole")])
def test_what_waits_for_the_application_never_stalls(waiting: bytes) -> None:
    pair = Pair()
    sender, receiver = pair.channel()
    sender.outgoing.write(waiting)
    near, far = pair.open("bytes")
    near.outgoing.write(b"x")
    pair.turn()
    pair.now += 1_000
    pair.server.mux.tick(overdue_at(pair.now))
    assert receiver.exhausted() is None
    assert far.exhausted() is None
