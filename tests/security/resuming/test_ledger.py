"""The books of a session by themselves, and two of them whose connections break anywhere."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink import RemoteProtocolError
from chanlink.security.resuming.ledger import LARGE, SHARE, SOON, Ledger

MOST = 65_536


def joined(ledger: Ledger, most: int = 2**20) -> bytes:
    return b"".join(ledger.next_parts(most))


# --- out ------------------------------------------------------------------------------------------------


def test_what_was_accepted_leaves_once_in_its_order() -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([b"one", bytearray(b"two"), memoryview(b"three")])
    assert ledger.has_unsent
    assert ledger.has_next
    assert joined(ledger) == b"onetwothree"
    assert not ledger.has_unsent
    assert not ledger.has_next
    assert joined(ledger) == b""
    assert ledger.sent == 11


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_no_more_leaves_at_a_time_than_was_asked_for(most: int) -> None:
    ledger, data = Ledger(MOST, MOST), os.urandom(100)
    ledger.accept([data[:30], data[30:]])
    got = []
    while ledger.has_next:
        got.append(joined(ledger, most))
        assert 0 < len(got[-1]) <= most
    assert b"".join(got) == data


def test_no_more_leaves_than_is_kept_at_most_until_some_of_it_is_acknowledged() -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([bytes(MOST + 10)])
    assert len(joined(ledger)) == MOST
    assert ledger.is_full
    assert ledger.has_unsent
    assert not ledger.has_next
    ledger.acknowledge(4)
    assert ledger.has_next
    assert len(joined(ledger)) == 4
    ledger.acknowledge(MOST)
    assert not ledger.is_full
    assert len(joined(ledger)) == 6


def test_what_is_large_and_never_changes_is_kept_as_it_is() -> None:
    ledger, data = Ledger(MOST, MOST), os.urandom(LARGE)
    ledger.accept([data])
    (part,) = ledger.next_parts(MOST)
    assert part is data


def test_what_somebody_could_change_is_copied() -> None:
    ledger, data = Ledger(MOST, MOST), bytearray(os.urandom(LARGE))
    before = bytes(data)
    ledger.accept([data, memoryview(data)])
    data[:] = bytes(LARGE)
    assert joined(ledger) == 2 * before


def test_a_small_part_does_not_keep_something_large() -> None:
    ledger, data = Ledger(MOST, MOST), os.urandom(SHARE * LARGE + 1)
    ledger.accept([memoryview(data)[:LARGE]])
    (part,) = ledger.next_parts(MOST)
    assert type(part) is bytes
    ledger.accept([memoryview(data)[: LARGE + 1]])
    (part,) = ledger.next_parts(MOST)
    assert type(part) is memoryview
    assert part.obj is data


def test_many_small_parts_are_kept_as_one() -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([b"x" * 10] * 1_000)
    assert [len(part) for part in ledger.next_parts(MOST)] == [10_000]


def test_what_need_not_wait_is_passed_on_as_if_it_had() -> None:
    ledger = Ledger(MOST, MOST)
    assert ledger.passes
    assert b"".join(ledger.pass_on([b"one", bytearray(b"two")])) == b"onetwo"
    assert not ledger.has_unsent
    assert ledger.awaits
    assert ledger.given == 6
    assert ledger.send_again(2) == 4
    assert ledger.given == 2
    assert not ledger.passes
    assert joined(ledger) == b"etwo"
    assert ledger.passes
    ledger.pass_on([bytes(MOST - 4)])
    assert not ledger.passes, "there is no room"
    ledger.acknowledge(3)
    assert ledger.passes
    ledger.close("done", "")
    assert not ledger.passes


def test_the_close_comes_last_and_is_one_byte_more() -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([b"data"])
    ledger.close("done", "it is over")
    ledger.close("another", "")
    assert ledger.sent == 5
    assert ledger.next_close() is None
    assert joined(ledger) == b"data"
    assert ledger.has_next
    assert ledger.next_close() == ("done", "it is over")
    assert ledger.next_close() is None
    assert not ledger.has_next
    ledger.acknowledge(4)
    assert ledger.awaits
    assert not ledger.settled
    ledger.acknowledge(5)
    assert ledger.settled
    assert not ledger.awaits


@pytest.mark.parametrize("count", [2, 11, 2**64 - 1])
def test_a_count_that_falls_or_passes_what_was_sent_breaks_a_rule(count: int) -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([bytes(10), bytes(10)])
    ledger.next_parts(10)
    ledger.acknowledge(3)
    assert not ledger.fits(count)
    with pytest.raises(RemoteProtocolError, match="what can't be"):
        ledger.acknowledge(count)
    with pytest.raises(RemoteProtocolError, match="what can't be"):
        ledger.send_again(count)
    assert ledger.acknowledged == 3


@pytest.mark.parametrize("count", range(12))
def test_what_has_not_arrived_is_sent_again_and_nothing_else(count: int) -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([b"abcd"])
    joined(ledger)
    ledger.acknowledge(min(count, 3))
    ledger.accept([b"efgh"])
    joined(ledger)
    ledger.accept([b"ij"])
    ledger.close("done", "")
    joined(ledger)
    assert ledger.next_close() is not None
    assert ledger.send_again(count) == 11 - count
    assert joined(ledger) == b"abcdefghij"[count:]
    assert (ledger.next_close() is not None) is (count < 11)
    ledger.acknowledge(11)
    assert ledger.settled


def test_what_is_forgotten_is_not_there() -> None:
    ledger = Ledger(MOST, MOST)
    ledger.accept([b"secret"])
    ledger.forget()
    assert joined(ledger) == b""


# --- in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("peer_most", "due_after"), [(65_536, 16_384), (16 * 2**20, SOON), (2**31 - 1, SOON)])
def test_the_peer_is_to_be_told_after_a_quarter_of_what_it_keeps_and_soon_in_any_case(
    peer_most: int, due_after: int
) -> None:
    ledger = Ledger(MOST, peer_most)
    assert not ledger.is_untold
    assert not ledger.take([bytes(due_after - 2), b"x"])
    assert ledger.is_untold
    assert ledger.take([b"x"])
    assert ledger.tell() == due_after
    assert not ledger.take([b"x"])
    assert ledger.tell() == due_after + 1
    assert not ledger.is_untold


def test_the_peers_close_is_one_byte_more() -> None:
    ledger = Ledger(MOST, MOST)
    ledger.take([bytes(10)])
    ledger.take_close()
    assert ledger.peer_closed
    assert ledger.tell() == 11


# --- two of them ----------------------------------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.integers(1, 3 * LARGE)),
        st.tuples(st.just("send"), st.integers(1, 2 * LARGE)),
        st.tuples(st.just("arrive"), st.integers(1, 2 * LARGE)),
        st.tuples(st.just("tell"), st.just(0)),
        st.tuples(st.just("break"), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=60,
)
CLOSE = object()


class Way:
    """One direction: what is under way on the connection that there is."""

    def __init__(self) -> None:
        self.near, self.far = Ledger(3 * LARGE, 3 * LARGE), Ledger(3 * LARGE, 3 * LARGE)
        self.accepted, self.got = bytearray(), bytearray()
        self.closed = False
        self.under_way: list[bytes | object] = []

    def do(self, what: str, size: int) -> None:
        match what:
            case "accept" if not self.near.is_full and self.near.our_close is None:
                data = os.urandom(size)
                self.accepted += data
                self.near.accept([data[: size // 2], bytearray(data[size // 2 :])])
            case "send":
                self.under_way += map(bytes, self.near.next_parts(size))
                if self.near.next_close():
                    self.under_way.append(CLOSE)
            case "arrive" if self.under_way:
                self.arrive(self.under_way.pop(0), size)
            case "tell":
                self.near.acknowledge(self.far.tell())
            case "break":
                self.under_way.clear()
                self.near.send_again(self.far.tell())
            case "close":
                self.near.close("done", "")
        assert self.near.sent - self.near.acknowledged < 3 * LARGE + 3 * LARGE + 1

    def arrive(self, part: bytes | object, size: int) -> None:
        if isinstance(part, bytes):
            self.got += part[:size]
            self.far.take([part[:size]])
            if part[size:]:
                self.under_way.insert(0, part[size:])
        else:
            assert not self.closed, "once"
            self.closed = True
            self.far.take_close()


@given(STEPS)
def test_nothing_is_lost_doubled_or_reordered_wherever_connections_break(steps: list[Step]) -> None:
    way = Way()
    for step in steps:
        way.do(*step)
        assert bytes(way.got) == bytes(way.accepted[: len(way.got)])
    way.do("close", 0)
    for _ in range(1_000):
        for what in ("send", "arrive", "tell"):
            way.do(what, LARGE)
        if way.near.settled:
            break
    assert way.closed
    assert way.got == way.accepted
    assert way.near.settled
