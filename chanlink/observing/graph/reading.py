"""What a server reports, read: every field may be missing or anything else, and has a bound once it is here."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from chanlink.printing import printable

OURS = "chanlink.top"
"""The service that is asked: who asks is not what one wants to see."""
LONGEST_NAME = 200
MOST_TASKS, MOST_CHANNELS, MOST_NAMES = 2_000, 20_000, 1_000
MOST_HOLDERS, MOST_WAYS = 1_000_000, 100_000
"""Names of tasks, and of channels, in all lists of one report together."""


class Way(NamedTuple):
    """One side of a channel. Both sides have the same session and number."""

    session: str
    """The id of a session; of a pipe in memory, that of its process."""
    side: str
    number: int

    @property
    def other(self) -> "Way":
        return self._replace(side=OTHER[self.side])


OTHER = {"client": "server", "server": "client", "sender": "receiver", "receiver": "sender"}


class Wait(NamedTuple):
    """What a task waits for; of several, one is enough."""

    verb: str
    ways: tuple[Way, ...]


TaskName = tuple[str, int]
"""The process, and the number of the task there."""


class Task(NamedTuple):
    """A task of a server."""

    id: TaskName
    name: str
    service: str
    peer: str
    place: str
    waits: tuple[Wait, ...]
    turn: int
    group: tuple[TaskName, ...]
    limited: bool

    @property
    def label(self) -> str:
        return f"service {self.service!r} for {self.peer}" if self.service else self.name or "a task"


class Side(NamedTuple):
    """What is on one side of a channel."""

    process: str
    way: Way
    held_by: tuple[TaskName, ...]
    others: bool
    onward: tuple[Way, ...]
    """Where relays take it from here, or bring it from: sides in the same process."""
    service: str
    sent: int
    taken: int
    untaken: int
    waiting: int
    """Bytes, or messages in memory, that have arrived."""
    capacity: int | None
    is_bytes: bool


def address_of(process: str) -> str:
    """Where the server is that has told of a process."""
    return process.partition(" ")[2]


class Report(NamedTuple):
    """What one server has told."""

    process: str
    """Empty for an older server, which tells of no tasks."""
    tasks: tuple[Task, ...]
    sides: tuple[Side, ...]
    peers: dict[str, str]
    """For each session its peer's name."""
    left_out: int


def read(messages: list[Any], address: str) -> Report:
    """What came from the server at this address, whatever it is."""
    maps = [one for one in messages if isinstance(one, dict)]
    head: dict[str, Any] = next((one for one in maps if "process" in one), {})
    process = f"{_number(head, 'process'):x} {address}"  # a server can't say that it is another one
    lists = _Lists(process)
    sides = [side for one in _maps(head, "pipes", MOST_CHANNELS) for side in _pipe(one, lists)]
    peers: dict[str, str] = {}
    for session in maps:
        if session is not head and (id := _text(session, "id")):
            peers[id] = _text(session, "peer") or peers.get(id, "")
            room = max(0, MOST_CHANNELS - len(sides))
            sides += [_channel(one, session, lists) for one in _maps(session, "channels", room)]
    left_out = sum(_number(one, "left_out") for one in maps)
    tasks = [_task(one, lists) for one in _maps(head, "tasks", MOST_TASKS)]
    return Report(
        process if head else "",
        tuple(task for task in tasks if task.service != OURS),
        tuple(side for side in sides[:MOST_CHANNELS] if side.service != OURS),
        peers,
        left_out,
    )


class _Lists:
    """The lists of names in one report. What there is no room for may be anything, and that is kept in mind."""

    def __init__(self, process: str) -> None:
        self.process = process
        self._holders, self._ways = MOST_HOLDERS, MOST_WAYS
        self._names: dict[int, TaskName] = {}
        """Each once, however often it is named."""
        self.cut = False
        """Whether something was left out of the one that is being read."""

    def begin(self) -> None:
        """Another task, or side of a channel, is being read."""
        self.cut = False

    def names(self, source: dict[str, Any], name: str) -> tuple[TaskName, ...]:
        listed = self._listed(source, name, self._holders)
        self._holders -= len(listed)
        return tuple(self._names.setdefault(one, (self.process, one)) for one in listed if isinstance(one, int))

    def ways(self, source: dict[str, Any], name: str) -> tuple[Way, ...]:
        listed = self._listed(source, name, self._ways)
        self._ways -= len(listed)
        return tuple(way for one in listed if (way := _way(one, self.process)) is not None)

    def maps(self, source: dict[str, Any], name: str) -> list[dict[str, Any]]:
        return [one for one in self._listed(source, name, MOST_NAMES) if isinstance(one, dict)]

    def _listed(self, source: dict[str, Any], name: str, room: int) -> list[Any]:
        listed = _list(source, name, min(room, MOST_NAMES))
        value = source.get(name)
        self.cut = self.cut or (isinstance(value, list) and len(listed) < len(value))
        return listed


def _task(one: dict[str, Any], lists: _Lists) -> Task:
    lists.begin()
    waits = tuple(Wait(_text(wait, "to"), lists.ways(wait, "on")) for wait in lists.maps(one, "waits"))
    return Task(
        (lists.process, _number(one, "id")),
        _text(one, "name"),
        _text(one, "service"),
        _text(one, "peer"),
        _text(one, "place"),
        waits,
        _number(one, "turn"),
        lists.names(one, "group"),
        bool(one.get("limited")) or lists.cut,
    )


def _channel(one: dict[str, Any], session: dict[str, Any], lists: _Lists) -> Side:
    lists.begin()
    side = "client" if session.get("side") == "client" else "server"
    way = Way(_text(session, "id"), side, _number(one, "id"))
    capacity = one.get("capacity")
    is_bytes = one.get("end") == "bytes"
    held_by, onward = lists.names(one, "held_by"), lists.ways(one, "onward")
    return Side(
        lists.process,
        way,
        held_by,
        one.get("others", True) is not False or lists.cut,
        onward,
        _text(one, "service"),
        _number(one, "sent"),
        _number(one, "taken"),
        _number(one, "untaken"),
        _number(one, "arrived"),
        _number(one, "capacity") if isinstance(capacity, int) else None,
        is_bytes,
    )


def _pipe(one: dict[str, Any], lists: _Lists) -> Iterator[Side]:
    capacity = _number(one, "capacity") if isinstance(one.get("capacity"), int) else None
    sent, taken = _number(one, "sent"), _number(one, "taken")
    for name in ("sender", "receiver"):
        side = one.get(name)
        holders: dict[str, Any] = side if isinstance(side, dict) else {}
        lists.begin()
        held_by = lists.names(holders, "held_by")
        yield Side(
            lists.process,
            Way(lists.process, name, _number(one, "id")),
            held_by,
            holders.get("others", True) is not False or lists.cut,
            (),
            "",
            sent,
            taken,
            max(0, sent - taken),
            _number(one, "queued"),
            capacity,
            bool(one.get("bytes")),
        )


def _way(one: Any, process: str) -> Way | None:
    match one:
        case [str(session), str(side), int(number)] if side in OTHER:
            return Way(printable(session[:LONGEST_NAME]) or process, side, number)
    return None


def _maps(source: dict[str, Any], name: str, most: int) -> list[dict[str, Any]]:
    return [one for one in _list(source, name, most) if isinstance(one, dict)]


def _list(source: dict[str, Any], name: str, most: int) -> list[Any]:
    value = source.get(name)
    return value[:most] if isinstance(value, list) else []


def _text(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    return printable(value[:LONGEST_NAME]) if isinstance(value, str) else ""


def _number(source: dict[str, Any], name: str) -> int:
    value = source.get(name)
    return value if isinstance(value, int) and 0 <= value < 2**63 else 0
