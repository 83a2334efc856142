"""Channels that stand still: something waits in them, and nothing has gone on for too long. Counters are read only."""

from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

import anyio
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect
from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.instrument import Instrument, Instruments, StallInfo, told
from chanlink.printing import printable_logger
from chanlink.session.ends.remote import StreamFeed
from chanlink.session.listening import Listener
from chanlink.session.session import Session
from chanlink.tasks import tasks_beside
from chanlink.wire.stream import Stream

from .report import Report, numbers

logger = printable_logger(__name__)

LOOKS = 4
"""Looks at which a channel has to be the same: so often in the time that was asked for."""


@asynccontextmanager
async def watch_stalls(
    *sources: Listener | Session, after: float = 30.0, instruments: Collection[Instrument] = ()
) -> AsyncGenerator[None, None]:
    """Say which channels of these sessions, or listeners, stand still, as long as the block lasts.

    A channel stands still when for ``after`` seconds something waits (messages or bytes that nobody takes here, or a
    task here that can't send because the other side takes nothing) and no counter has moved: nothing was taken, sent,
    or has arrived. One that is idle, or slow, does not. Each is told once, until it goes on: in the log of
    ``chanlink.observing.stalls``, as a warning with the tasks that hold the end here and the place where each of them
    is, and to `Instrument.channel_stalled` of ``instruments``. Seconds in which the event loop itself stood still count
    no more than a part.

    It looks at all channels four times in that time, and changes nothing. Raises `TypeError`, `ValueError` for what
    can't be watched.
    """
    for source in sources:
        expect("source", source, Listener, Session)
    expect("after", after, int, float)
    if not 0 < after < float("inf"):
        raise ValueError("after must be a number of seconds above 0")
    watcher = Watcher(sources, after, told(instruments))

    async def watch() -> None:
        while True:
            await anyio.sleep(after / LOOKS)
            await watcher.look()

    async with tasks_beside() as tasks:
        tasks.start_soon(watch)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


class _Seen(NamedTuple):
    """A channel in which something waits."""

    counters: tuple[float, ...]
    looks: int
    """How many times these were the same."""


class Watcher:
    """What was seen of channels in which something waits. Those that are idle are not kept."""

    def __init__(self, sources: Collection[Listener | Session], after: float, instruments: Instruments | None) -> None:
        self._sources = sources
        self._after = after
        self._instruments = instruments
        self._seen: dict[Stream, _Seen] = {}

    def sessions(self) -> Iterator[Session]:
        for source in self._sources:
            yield from source.sessions if isinstance(source, Listener) else [source]

    async def look(self) -> None:
        """Look at all of them; tell of those that were the same for long enough."""
        seen: dict[Stream, _Seen] = {}
        stalled: list[tuple[Session, Stream]] = []
        for session in dict.fromkeys(self.sessions()):
            await checkpoint()
            for stream in () if session.closed else session._mux.streams.values():
                if waits_for(stream) is not None:
                    counters = _counters(stream)
                    before = self._seen.get(stream)
                    looks = before.looks + 1 if before is not None and before.counters == counters else 0
                    seen[stream] = _Seen(counters, looks)
                    if looks == LOOKS:
                        stalled.append((session, stream))
        self._seen = seen
        if stalled:
            self._tell(stalled)

    def _tell(self, stalled: list[tuple[Session, Stream]]) -> None:
        # One report for all of them: it looks at all tasks, and there may be as many sessions as peers like.
        report = Report(dict.fromkeys(session for session, _ in stalled), numbers())
        tasks = {one["id"]: one for one in report.process()["tasks"]}
        for session, stream in stalled:
            side = report.side(stream)
            held_by = [f"{tasks[one]['name']} at {tasks[one]['place']}" for one in side["held_by"] if one in tasks]
            held_by += [f"a relay to channel {name[2]} of the session {name[0]}" for name in side["onward"]]
            stall = StallInfo(
                session.peer.name,
                session.peer.address,
                stream.id,
                stream.service or "",
                waits_for(stream) or "take",
                self._after,
                tuple(held_by),
            )
            logger.warning("%s", stall)
            if self._instruments is not None:
                self._instruments.tell(Instrument.channel_stalled, stall)


def waits_for(stream: Stream) -> Literal["take", "peer"] | None:
    """What does not happen: that somebody here takes what has arrived, or that the peer makes room."""
    if stream.carries_in and (stream.incoming.size or stream.incoming.in_relay) and not _is_awaited(stream):
        return "take"
    if stream.carries_out and stream.out_reason is None:
        out, owner = stream.outgoing, stream.outgoing.owner
        if isinstance(owner, SendCore) and (owner.senders or (out.capacity == 0 and out.sent > out.peer_taken)):
            return "peer"
    return None


def _is_awaited(stream: Stream) -> bool:
    """Whether somebody here waits to take: what has arrived is then a part of a message, the rest of which is late."""
    owner = stream.incoming.owner
    core = owner.core if isinstance(owner, StreamFeed) else owner
    return isinstance(core, ReceiveCore) and bool(core.receivers)


def _counters(stream: Stream) -> tuple[float, ...]:
    """Some of these move whenever something goes on."""
    found: tuple[float, ...] = ()
    if stream.carries_in:
        inbox = stream.incoming
        found += (inbox.taken_count, inbox.size, inbox.in_relay, inbox.progress_at)
    if stream.carries_out:
        out = stream.outgoing
        found += (out.sent, out.peer_taken, out.returned, out.queued)
    return found
