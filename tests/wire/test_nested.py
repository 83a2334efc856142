"""Streams that no message has mentioned yet: whatever becomes of them, what is kept is bounded (protocol section 5)."""

import gc
import random
import tracemalloc
from collections.abc import Callable, Collection

import pytest

from chanlink.errors import END, Reason
from chanlink.features import FEATURES
from chanlink.limits import Limits
from chanlink.wire.mux import Mux
from chanlink.wire.stream import Stream

from .muxes import KINDS, Pair, Transcript, message, overdue_at, read_all, take

WINDOW = 1_024
LIMITS = Limits(open_channels=20, stream_window=WINDOW, session_budget=8_192, message_size=8_192)
FULL = message(bytes(WINDOW - 4))
PART = (8_000).to_bytes(4, "big") + bytes(WINDOW - 4)
"""The beginning of a message that wants credit out of the session's budget."""


class Life:
    """A peer that opens nested streams, fills them, and gets rid of them before any message mentions one."""

    def __init__(self) -> None:
        self.script = Transcript(LIMITS)
        self._next = 1
        self.parent = self.open_top()

    def open(self, kind: str = "receiver", **fields: object) -> int:
        stream_id, self._next = self._next, self._next + 2
        self.script.say(self.script.opening(stream_id, kind, **fields))
        return stream_id

    def open_top(self) -> int:
        return self.open(service="service")

    def child(self, kind: str = "receiver", data: bytes = FULL, parent: int | None = None) -> int:
        stream_id = self.open(kind, parent=self.parent if parent is None else parent)
        if data and kind != "sender":
            self.script.say(self.script.data(stream_id, data))
        return stream_id

    def end(self, *stream_ids: int) -> None:
        for stream_id in stream_ids:
            self.script.say(self.script.data(stream_id, end=True))

    def reset(self, stream_id: int) -> None:
        self.script.now += 0.05  # as often as the allowance has it
        self.script.say(self.script.reset(stream_id))

    def pass_time(self, seconds: float) -> None:
        self.script.now += seconds
        self.script.mux.tick(overdue_at(self.script.now))

    def check_bounds(self) -> None:
        """Of all streams of this mux that anybody still has."""
        self.script.side.opened.clear()
        gc.collect()
        kept = [one for one in gc.get_objects() if type(one) is Stream and one._mux is self.script.mux]
        assert len(kept) <= 2 * LIMITS.open_channels
        assert (
            sum(one.incoming.size for one in kept if one.carries_in)
            <= LIMITS.open_channels * WINDOW + LIMITS.session_budget
        )


def reset(life: Life) -> None:
    life.reset(life.child())


def reset_bytes(life: Life) -> None:
    life.reset(life.child("bytes"))


def reset_after_its_end(life: Life) -> None:
    child = life.child()
    life.end(child)
    life.reset(child)


def reset_with_a_message_under_way(life: Life) -> None:
    life.reset(life.child(data=PART))


def reset_of_a_parent_of_its_own(life: Life) -> None:
    parent = life.open_top()
    child = life.child(parent=parent)
    life.reset(parent)
    life.end(child)


def reset_of_a_nested_parent(life: Life) -> None:
    parent = life.child()
    child = life.child(parent=parent)
    life.reset(parent)
    life.end(child)


def reset_under_a_parent_of_its_own(life: Life) -> None:
    parent = life.open_top()
    life.reset(life.child(parent=parent))
    life.end(parent)


def its_time_was_up(life: Life) -> None:
    children = [life.child(kind) for kind in KINDS]
    life.pass_time(10)
    said = {frame[1] for frame in life.script.heard()}
    assert said >= set(children)
    life.end(children[0], children[2])
    life.script.say(life.script.headers(children[1], {"taken": 0}, end=True))


def its_time_was_up_with_a_message_under_way(life: Life) -> None:
    child = life.child(data=PART)
    life.pass_time(10)
    life.end(child)


def its_parent_ended(life: Life) -> None:
    parent = life.open_top()
    child = life.child(parent=parent)
    life.end(parent, child)


def its_parent_is_none(life: Life) -> None:
    life.end(life.child(parent=2))


def it_was_cut_short_while_others_borrow(life: Life) -> None:
    children = [life.child(data=PART) for _ in range(3)]
    life.end(*children)
    life.pass_time(10)


WAYS = [
    reset,
    reset_bytes,
    reset_after_its_end,
    reset_with_a_message_under_way,
    reset_of_a_parent_of_its_own,
    reset_of_a_nested_parent,
    reset_under_a_parent_of_its_own,
    its_time_was_up,
    its_time_was_up_with_a_message_under_way,
    its_parent_ended,
    its_parent_is_none,
    it_was_cut_short_while_others_borrow,
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_streams_that_are_over_before_a_message_mentions_them_are_kept_within_the_bounds(
    way: Callable[[Life], None],
) -> None:
    life = Life()

    def rounds(count: int) -> int:
        for _ in range(count):
            way(life)
            life.script.answers()
        life.check_bounds()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = rounds(300)  # h2 remembers 256 that are over
        assert rounds(300) - before < 300 * 100  # a stream alone has four times that
    finally:
        tracemalloc.stop()
    life.end(life.parent)
    life.pass_time(10)
    life.script.answers()
    life.script.side.check_empty()


@pytest.mark.parametrize("how", ["ended", "reset", "refused"])
def test_who_waits_for_the_budget_and_is_over_waits_no_more(how: str) -> None:
    """Another one has the budget all the time."""
    life = Life()
    life.script.say(life.script.data(life.parent, PART))
    for _ in range(100):
        stream_id = life.open_top()
        stream = life.script.mux.streams[stream_id]
        life.script.say(life.script.data(stream_id, PART))
        assert list(life.script.mux.credit._borrowers) == [stream.incoming.window]
        if how == "reset":
            life.reset(stream_id)
        else:
            if how == "refused":
                stream.refuse(Reason("refused", "closed"))
            life.end(stream_id)
        life.script.answers()
        assert not life.script.mux.credit._borrowers
    life.check_bounds()
    life.reset(life.parent)
    life.script.side.check_empty()


def test_one_that_was_reset_before_its_mention_arrives_as_over_and_holds_nothing() -> None:
    life = Life()
    child = life.child("bytes")
    life.reset(child)
    parent = life.script.mux.streams[life.parent]
    stream = life.script.mux.claim(parent, "bytes", child)
    assert stream is not None
    assert life.script.mux.claim(parent, "bytes", child) is None
    assert read_all(stream) == b""
    assert stream.exhausted() == Reason("failed", "reset")


def test_children_of_a_parent_that_was_reset_are_not_taken_at_once() -> None:
    life = Life()
    child = life.child("bytes")
    life.reset(life.parent)
    assert {one[0] for one in life.script.heard()} == {"STOP", "HEADERS"}
    life.end(child)
    life.script.side.check_empty()


def test_those_that_are_over_are_remembered_across_all_parents_the_latest_of_them() -> None:
    life = Life()
    mux = life.script.mux
    parents = [life.open_top() for _ in range(4)]
    children = []
    for number in range(3 * LIMITS.open_channels):
        children.append((parents[number % 4], life.child(parent=parents[number % 4])))
        life.reset(children[-1][1])
    found = [mux.claim(mux.streams[parent], "receiver", child) is not None for parent, child in children]
    assert found == [False] * 2 * LIMITS.open_channels + [True] * LIMITS.open_channels
    assert not mux.nested.over


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [FEATURES, ()], ids=["now", "0.1"])
@pytest.mark.parametrize("end", [Mux.drain, Mux.conclude])
def test_a_message_of_an_open_channel_may_mention_what_was_opened_while_the_other_side_drains(
    kind: str, end: Callable[[Mux], None], features: Collection[str]
) -> None:
    """It is served as long as its parent is."""
    pair = Pair(features=features)
    sender, receiver = pair.channel()
    end(pair.server.mux)
    life = pair.client.mux
    child = life.open(sender.opening._replace(kind=kind, service=None, parent=sender.id))  # type: ignore[arg-type]
    sender.outgoing.write(message(b"\xd4\1\0", (kind, child.id)))  # type: ignore[arg-type]
    pair.turn()
    assert take(receiver) is not None
    far = pair.server.mux.claim(receiver, kind, child.id)  # type: ignore[arg-type]
    assert far is not None
    goes, comes = (child, far) if child.carries_out else (far, child)
    goes.outgoing.write(message(b"x"))
    pair.turn()
    assert comes.incoming.size
    for stream in (child, far):
        if stream.carries_in:
            stream.refuse(Reason("refused", "closed"))
        if stream.carries_out:
            stream.finish(END)
    sender.finish(END)
    pair.check_empty()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_peer_does_with_streams_that_nobody_was_told_of_is_within_the_bounds(seed: int) -> None:
    """Anything that the frames allow, in any order; the application takes a message now and then."""
    act = random.Random(seed)
    life = Life()
    script, mux = life.script, life.script.mux
    ended: set[int] = set()

    def some() -> int | None:
        live = [stream_id for stream_id in mux.streams if stream_id not in ended]
        return act.choice(live) if live else None

    for step in range(600):
        chosen = some()
        room = sum(stream_id % 2 for stream_id in mux.streams) < LIMITS.open_channels
        match act.randrange(10):
            case 0 if room:
                life.open_top()
            case 1 | 2 | 3 | 4 if room:
                life.child(act.choice(KINDS), act.choice([b"", FULL, PART]), parent=act.choice([*mux.streams, 999]))
            case 5 | 6 if chosen is not None:
                ended.add(chosen)
                fields = {"taken": 0, "code": "closed"}
                if mux.streams[chosen].carries_in and act.random() < 0.7:
                    life.end(chosen)
                else:
                    script.say(script.headers(chosen, fields, end=True))
            case 7 if chosen is not None:
                life.reset(chosen)
            case 8:
                life.pass_time(act.choice([0.1, 5, 10, 31]))
            case _ if chosen is not None:
                stream = mux.streams[chosen]
                if stream.carries_in and not stream.is_bytes and stream.id not in mux.nested.waiting:
                    for child in list(stream.children or {}):
                        if act.random() < 0.5:
                            mux.claim(stream, act.choice(KINDS), child)
                    take(stream)
        script.answers()
        assert len(mux.nested.over) <= LIMITS.open_channels
        if step % 100 == 99:
            life.check_bounds()
    for _ in range(3):
        for stream in list(mux.streams.values()):
            if stream.id not in ended:
                life.reset(stream.id)
            else:  # its other half is ours
                stream.discard("closed", "")
        life.pass_time(31)
        script.answers()
    script.side.check_empty()
