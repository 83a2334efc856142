"""What a program is doing, as a map: its sessions, channels and pipes, its tasks, and who waits for whom.

A channel of a session is named alike by both sides: by the session's id, which side it is, and the stream's id. Of a
pipe in memory the session is empty, its sides are its two ends, and it has a number. Names are told, contents are not.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.channels.memory import MemoryQueue, queue_before, queue_behind
from chanlink.printing import printable
from chanlink.session.ends.relay import Relay, UnderWay
from chanlink.session.ends.remote import StreamFeed, StreamOutlet
from chanlink.session.session import Session
from chanlink.session.snapshot import MOST_CHANNELS, snapshot
from chanlink.wire.stream import Stream

from .reach import Held
from .tasks import Task, Tasks, look

LONGEST_NAME = 200
"""Characters of what a task is called: a program may call it anything."""
Kind = Literal["task", "pipe", "session"]
Number = Callable[[Kind, int], int]
"""Gives the object of a kind that has this `id` a number, the same one each time."""
Name = list[Any]
"""Of one side of a channel: session, side (``client`` or ``server``; ``sender`` or ``receiver``), number."""


def numbers() -> Number:
    """Numbers from 1, for one report."""
    given: dict[Kind, dict[int, int]] = {"task": {}, "pipe": {}, "session": {}}
    return lambda kind, one: given[kind].setdefault(one, len(given[kind]) + 1)


class Report:
    """Everything at one moment. It refers to ends: for use at once, and not to be kept."""

    def __init__(self, sessions: Iterable[Session] | None, number: Number) -> None:
        """Of these sessions, or of all that the tasks of this event loop have."""
        self._tasks: Tasks = look()
        self._number = number
        known = dict.fromkeys([*(sessions or ()), *self._tasks.sessions])
        self._ids = {
            session: session.id or f"#{number('session', id(session))}" for session in known if not session.closed
        }
        self.sessions = [one for one in (known if sessions is None else sessions) if one in self._ids]
        self._names: dict[Stream, Name] = {
            stream: [id, session._side, stream.id]
            for session, id in self._ids.items()
            for stream in session._mux.streams.values()
        }

    # --- the process ---

    def process(self) -> dict[str, Any]:
        """The tasks that have to do with channels, and the pipes in memory."""
        pipes = self._pipes()
        told = [self._task(task) for task in self._concerned()]
        left_out = self._tasks.left_out + max(0, len(pipes) - MOST_CHANNELS)
        return {"tasks": told, "pipes": [self._pipe(*pipe) for pipe in pipes[:MOST_CHANNELS]], "left_out": left_out}

    def _concerned(self) -> list[Task]:
        """The tasks that hold ends, wait for one, serve, or wait for such tasks."""
        holders: set[int] = set().union(*(held.tasks for held in self._tasks.handles.values()))
        told = {task.id: task for task in self._tasks.tasks if task.waits or task.service or task.id in holders}
        while more := [
            one for one in self._tasks.tasks if one.id not in told and not told.keys().isdisjoint(one.group)
        ]:
            told.update((task.id, task) for task in more)
        return list(told.values())

    def _task(self, task: Task) -> dict[str, Any]:
        return {
            "id": self._number("task", task.id),
            "name": printable(task.name)[:LONGEST_NAME],
            "service": task.service,
            "peer": task.peer,
            "place": printable(task.place),
            "at": task.at,
            "waits": [{"to": wait.verb, "on": self._ways(wait.core)} for wait in task.waits],
            "turn": task.turn,
            "group": self._numbers(task.group),
            "limited": task.limited,
        }

    def _numbers(self, tasks: Iterable[int]) -> list[int]:
        return sorted(self._number("task", task) for task in tasks)

    def _held(self, held: Held) -> dict[str, Any]:
        return {"held_by": self._numbers(held.tasks), "others": held.others}

    # --- what a core leads to ---

    def _ways(self, core: SendCore | ReceiveCore) -> list[Name]:
        queue = _queue(core)
        behind: Iterable[object] = (core.outlet,) if isinstance(core, SendCore) else core.feeds
        names = [self._name(one) for one in behind if one is not queue]
        if queue is not None:
            names.append(["", "sender" if isinstance(core, SendCore) else "receiver", self._number("pipe", id(queue))])
        return [name for name in names if name is not None]

    def _name(self, behind: object) -> Name | None:
        """Of the stream that this is an outlet to, or a feed from."""
        return self._names.get(behind.stream) if isinstance(behind, StreamOutlet | StreamFeed) else None

    # --- pipes ---

    def _pipes(self) -> list[tuple[MemoryQueue, bool]]:
        """Each with whether it is of bytes."""
        found: dict[MemoryQueue, bool] = {}
        for handle in self._tasks.handles:
            for queue in filter(None, map(_queue, handle._cores())):
                found[queue] = isinstance(handle, ByteStream)
        return list(found.items())

    def _pipe(self, pipe: MemoryQueue, is_bytes: bool) -> dict[str, Any]:
        receiver = pipe.receiver
        return {
            "id": self._number("pipe", id(pipe)),
            "bytes": is_bytes,
            "capacity": pipe.capacity,
            "sent": pipe.sent,
            "taken": pipe.taken,
            "queued": pipe.queued,
            "sending": len(pipe.sender.senders),
            "receiving": 0 if receiver is None else len(receiver.receivers),
            "sender": self._held(self._tasks.holders(pipe.sender)),
            "receiver": self._held(self._tasks.holders(receiver) if receiver is not None else Held(frozenset(), True)),
        }

    # --- sessions ---

    def session(self, session: Session, room: int = MOST_CHANNELS) -> dict[str, Any]:
        """As `SessionState.to_map`, and for each channel who holds its end here, or over what it goes on.

        There is room for so many channels.
        """
        found = snapshot(session).to_map()
        streams = session._mux.streams
        found["left_out"] += len(found["channels"][room:])
        del found["channels"][room:]
        for channel in found["channels"]:
            channel.update(self.side(streams[channel["id"]]))
        return {**found, "id": self._ids[session]}

    def side(self, stream: Stream) -> dict[str, Any]:
        """Who is on this side of a stream."""
        tasks: set[int] = set()
        others, onward = False, []
        for core_or_relay in _ends_of(stream):
            match core_or_relay:
                case SendCore() | ReceiveCore():
                    held = self._tasks.holders(core_or_relay)
                    tasks |= held.tasks
                    others = others or held.others
                    onward += self._joined_to(core_or_relay)
                case Relay():
                    onward.append(self._name(core_or_relay.joins[1]))
                case _:
                    others = True
        others = others or None in onward  # a session that is not told of
        return {**self._held(Held(frozenset(tasks), others)), "onward": [name for name in onward if name is not None]}

    def _joined_to(self, core: SendCore | ReceiveCore) -> list[Name | None]:
        """The streams that relays bring to it."""
        under_way = core.under_way if isinstance(core, SendCore) else None
        relays: Collection[Relay[Any]] = under_way.relays if isinstance(under_way, UnderWay) else ()
        return [self._name(relay.joins[0]) for relay in relays]


def _queue(core: SendCore | ReceiveCore) -> MemoryQueue | None:
    return queue_behind(core) if isinstance(core, SendCore) else queue_before(core)


def _ends_of(stream: Stream) -> list[object]:
    """The cores, or the relay, that its halves belong to."""
    found: list[object] = []
    if stream.carries_out and stream.out_reason is None:
        found.append(stream.outgoing.owner)
    if stream.carries_in and stream.in_reason is None:
        owner = stream.incoming.owner
        found.append(owner.core if isinstance(owner, StreamFeed) else owner)
    return found
