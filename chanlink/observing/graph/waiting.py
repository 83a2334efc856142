"""What several servers report, joined: who waits for whom, and which tasks wait for each other for ever."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .reading import Report, Side, Task, TaskName, Way

DEEPEST = 1_000
"""Sides of channels that are asked for one end: relays on the way to the other, and those that join there."""
MOST_ANSWERED = 1_000_000
"""Sides and tasks in all answers together. Who can end a wait is not known beyond that."""


Stuck = dict[TaskName, frozenset[TaskName]]
"""Tasks that can't go on, and for which of them each waits."""


class Answer(NamedTuple):
    """Who can end a wait at one side of a channel."""

    tasks: frozenset[TaskName]
    others: bool
    """Whether somebody may who was not seen: a wait for them is none for ever."""
    ways: tuple[Way, ...]
    """The sides that were asked, from here to there."""


class Waiting:
    """Who waits for whom, of several reports of one time."""

    def __init__(self, reports: Iterable[Report]) -> None:
        self.tasks: dict[TaskName, Task] = {}
        self.sides: dict[Way, Side] = {}
        for report in reports:
            self.tasks.update((task.id, task) for task in report.tasks)
            self.sides.update((side.way, side) for side in report.sides)
        self._answers: dict[Way, Answer] = {}
        self._room = MOST_ANSWERED

    def answer(self, way: Way) -> Answer:
        """Who is on the other side of a channel, beyond all relays."""
        found = self._answers.get(way)
        if found is None:
            if self._room <= 0:
                return Answer(frozenset(), others=True, ways=(way, way.other))
            found = self._answers[way] = self._found(way)
            self._room -= len(found.tasks) + len(found.ways)
        return found

    def _found(self, way: Way) -> Answer:
        tasks: set[TaskName] = set()
        others, asked, waiting = False, dict.fromkeys([way]), [way.other]
        while waiting and len(asked) < DEEPEST:
            here = waiting.pop()
            side = self.sides.get(here)
            asked[here] = None
            if side is None or self._under_way(here):
                others = True
                continue
            tasks.update(side.held_by)
            others = others or side.others
            for onward in side.onward:
                if len(asked) >= DEEPEST:
                    others = True
                    break
                if onward not in asked:
                    asked[onward] = None
                    waiting.append(onward.other)
        return Answer(frozenset(tasks), others or bool(waiting), tuple(asked))

    def _under_way(self, way: Way) -> bool:
        """Whether something was sent that has not arrived, or was taken and the sender does not know it yet."""
        here, there = self.sides[way], self.sides.get(way.other)
        if there is None or here.is_bytes:
            return there is None
        return any(
            (sender.sent > receiver.taken and not (receiver.waiting or receiver.onward))  # a relay has it, perhaps
            or sender.sent - sender.untaken < receiver.taken
            for sender, receiver in ((here, there), (there, here))
            if sender.sent
        )

    def waits_for(self, task: Task) -> Answer:
        """Who can end what a task waits for; of a task that waits for those it has started, these."""
        if not task.waits:
            return Answer(frozenset(task.group), others=False, ways=())
        answers = [self.answer(way) for way in {way for wait in task.waits for way in wait.ways}]
        others = any(answer.others for answer in answers) or not all(wait.ways for wait in task.waits)
        return Answer(frozenset().union(*(answer.tasks for answer in answers)), others, ())

    def stuck(self, only: Iterable[TaskName] | None = None) -> Stuck:
        """The tasks that wait for each other, and for nobody else; for each, whom it waits for.

        The largest such set. `only` these are looked at: of all others it is known that they go on.
        """
        wanted = None if only is None else set(only)
        found = {
            name: answer.tasks
            for name, task in self.tasks.items()
            if (wanted is None or name in wanted) and (task.waits or task.group) and not task.limited
            if not (answer := self.waits_for(task)).others and answer.tasks
        }
        blocked = {name: len(awaited & found.keys()) for name, awaited in found.items()}
        """For how many of those that are stuck each waits."""
        waiters: dict[TaskName, list[TaskName]] = {}
        for name, awaited in found.items():
            for one in awaited & found.keys():
                waiters.setdefault(one, []).append(name)
        free = [name for name, awaited in found.items() if self._goes_on(name, blocked[name], len(awaited))]
        while free:
            name = free.pop()
            if found.pop(name, None) is not None:
                for waiter in waiters.get(name, ()):
                    blocked[waiter] -= 1
                    if waiter in found and self._goes_on(waiter, blocked[waiter], len(found[waiter])):
                        free.append(waiter)
        return {name: awaited & found.keys() for name, awaited in found.items()}

    def _goes_on(self, name: TaskName, stuck: int, awaited: int) -> bool:
        """One other side that is not stuck is enough; of those that it has started, all have to end."""
        return stuck < awaited if self.tasks[name].waits else stuck == 0

    def state(self, name: TaskName) -> object:
        """What is another one as soon as a task has gone on, or something happens at what it waits for."""
        task = self.tasks[name]
        ways = [way for wait in task.waits for way in wait.ways]
        counts = [(one.sent, one.taken) for way in ways for one in map(self.sides.get, (way, way.other)) if one]
        return task.turn, task.place, task.waits, task.group, counts


def deadlock(before: Waiting, after: Waiting) -> Stuck:
    """The tasks that were stuck at two times, and have not gone on in between: a passing state is none."""
    still = [
        name for name in before.stuck() if name in after.tasks and repr(before.state(name)) == repr(after.state(name))
    ]
    return after.stuck(still)


def circles(stuck: Stuck) -> list[list[TaskName]]:
    """The tasks among them that wait, in the end, for themselves; the others wait for one of these."""
    return [group for group in _components(stuck) if len(group) > 1 or group[0] in stuck[group[0]]]


def _components(graph: Stuck) -> Iterator[list[TaskName]]:
    """Strongly connected components, by Tarjan's algorithm, without recursion."""
    order: dict[TaskName, int] = {}
    lowest: dict[TaskName, int] = {}
    path: list[TaskName] = []
    on_path: set[TaskName] = set()
    for root in graph:
        calls = [] if root in order else [(root, iter(sorted(graph[root])))]
        while calls:
            name, others = calls[-1]
            if name not in order:
                order[name] = lowest[name] = len(order)
                path.append(name)
                on_path.add(name)
            following = next(others, None)
            if following is None:
                calls.pop()
                if calls:
                    lowest[calls[-1][0]] = min(lowest[calls[-1][0]], lowest[name])
                if lowest[name] == order[name]:
                    at = path.index(name)
                    found, path[at:] = path[at:], []
                    on_path.difference_update(found)
                    yield found
            elif following not in order:
                calls.append((following, iter(sorted(graph[following]))))
            elif following in on_path:
                lowest[name] = min(lowest[name], order[following])
