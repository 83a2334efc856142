"""What is in the picture: servers and their tasks, channels and who holds their ends, and who waits for whom."""

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, NamedTuple

from .reading import Report, Side, Task, TaskName, Way, address_of
from .waiting import Stuck, Waiting, circles, deadlock

MOST_DRAWN = 400
"""Tasks, and channels."""
MOST_ARROWS = 10_000
"""That are looked at, those of a deadlock first."""
VERBS = {"send": "sends", "receive": "receives", "end": "waits for its end"}


class Asked(NamedTuple):
    """What became of asking a server, twice."""

    address: str
    reports: tuple[Report, Report] | None
    problem: str
    """Why there is none."""

    @property
    def is_older(self) -> str:
        """What is to be said of a server that does not know how to tell of tasks."""
        return "" if self.reports is None or self.reports[1].process else "an older server: it tells of no tasks"


class Edge(NamedTuple):
    """An arrow. From and to: a task, one side of a channel, or a word for those who were not seen."""

    start: TaskName | Way
    end: TaskName | Way | str
    label: str
    stuck: bool
    """Whether it is a part of a circle of waiting."""


class Picture(NamedTuple):
    """All of it. Channels are named by the smaller one of their sides."""

    asked: tuple[Asked, ...]
    tasks: dict[TaskName, Task]
    channels: dict[Way, tuple[Side, ...]]
    edges: tuple[Edge, ...]
    stuck: frozenset[TaskName]
    """Tasks of a deadlock, and those that wait for one."""
    circles: tuple[tuple[TaskName, ...], ...]
    left_out: int

    def to_map(self) -> dict[str, Any]:
        """As ``chanlink graph --json`` prints it."""
        return {
            "servers": [
                {
                    "address": one.address,
                    "problem": one.problem,
                    "process": one.reports[0].process if one.reports else "",
                }
                for one in self.asked
            ],
            "tasks": [
                {**task._asdict(), "waits": [wait.verb for wait in task.waits], "stuck": name in self.stuck}
                for name, task in self.tasks.items()
            ],
            "edges": [edge._asdict() for edge in self.edges],
            "circles": self.circles,
            "left_out": self.left_out,
        }


def picture(asked: list[Asked], *, everything: bool = False) -> Picture:
    """Of what servers have told: the tasks and channels that somebody waits for, or all."""
    told = [one.reports for one in asked if one.reports is not None]
    first, second = (Waiting(reports[at] for reports in told) for at in (0, 1))
    stuck = deadlock(first, second)
    rounds = tuple(tuple(group) for group in circles(stuck))
    red = {name: number for number, group in enumerate(rounds) for name in group}
    tasks_in_order = sorted(second.tasks.values(), key=lambda task: task.id not in stuck)
    arrows = (edge for task in tasks_in_order for edge in _edges(task, second, red, stuck))
    edges = list(islice(arrows, MOST_ARROWS))
    shown = {edge.start for edge in edges} | {edge.end for edge in edges}
    tasks = {name: task for name, task in second.tasks.items() if everything or name in shown}
    channels: dict[Way, list[Side]] = {}
    for way, side in second.sides.items():
        if everything or channel_of(way) in shown:
            channels.setdefault(channel_of(way), []).append(side)
    kept = dict(sorted(tasks.items(), key=lambda one: one[0] not in stuck)[:MOST_DRAWN])
    drawn = dict(list(channels.items())[:MOST_DRAWN])
    left_out = sum(two[1].left_out for two in told) + len(tasks) - len(kept) + len(channels) - len(drawn)
    holds = islice((edge for way, sides in drawn.items() for edge in _holds(way, sides)), MOST_ARROWS)
    return Picture(
        tuple(asked),
        kept,
        {way: tuple(sides) for way, sides in drawn.items()},
        tuple(edge for edge in dict.fromkeys([*edges, *holds]) if _is_drawn(edge, kept, drawn)),
        frozenset(stuck),
        rounds,
        left_out,
    )


def channel_of(way: Way) -> Way:
    """The name of the channel of which this is a side."""
    return min(way, way.other)


def _edges(task: Task, waiting: Waiting, red: dict[TaskName, int], stuck: Stuck) -> Iterator[Edge]:
    """Whom a task waits for: by channels and relays, or those that it has started."""
    number = red.get(task.id, -1)
    for wait in task.waits:
        for way in wait.ways:
            answer = waiting.answer(way)
            channels = list(dict.fromkeys(map(channel_of, answer.ways)))
            is_red = number >= 0 and any(red.get(one) == number for one in answer.tasks)
            yield Edge(task.id, channels[0], VERBS.get(wait.verb, "waits"), is_red)
            relays = {channel_of(one): waiting.sides[one].process for one in answer.ways[2::2] if one in waiting.sides}
            for here, there in pairwise(channels):
                yield Edge(here, there, f"relay {address_of(relays.get(there, ''))}".strip(), is_red)
            for name in sorted(answer.tasks):
                yield Edge(channels[-1], name, "", is_red and red.get(name) == number)
            if answer.others:
                yield Edge(channels[-1], "others", "", stuck=False)
    for name in stuck.get(task.id, ()) if not task.waits else ():  # of others it is no news that they wait
        yield Edge(task.id, name, "has started", number >= 0 and red.get(name) == number)


def _holds(channel: Way, sides: list[Side]) -> Iterator[Edge]:
    for side in sides:
        for name in side.held_by:
            yield Edge(name, channel, "holds", stuck=False)


def _is_drawn(edge: Edge, tasks: dict[TaskName, Task], channels: dict[Way, list[Side]]) -> bool:
    return all(end == "others" or end in tasks or end in channels for end in (edge.start, edge.end))
