"""When tasks wait for each other for ever, and when not."""

import random
from typing import Any

import pytest

from chanlink.observing.graph import waiting
from chanlink.observing.graph.waiting import Stuck, Waiting, circles, deadlock
from tests.observing.graph.reports import Server, two_that_wait


def stuck(*servers: Server) -> set[str]:
    found = Waiting(one.report() for one in servers)
    return {found.tasks[name].name for name in found.stuck()}


def test_two_that_send_to_each_other_and_take_nothing() -> None:
    assert stuck(*two_that_wait()) == {"a1", "b1"}


def test_whoever_may_be_there_unseen_can_end_it() -> None:
    assert stuck(*two_that_wait(others=True)) == set()


def test_a_time_limit_ends_it() -> None:
    assert stuck(*two_that_wait(limited=True)) == set()


def test_a_server_that_was_not_asked_can_end_it() -> None:
    a, b = two_that_wait()
    assert stuck(a) == stuck(b) == set()


def test_a_task_that_waits_for_something_else_can_end_it() -> None:
    a, b = two_that_wait()
    b.task(2)
    b.sessions["s", "server"]["channels"][0]["held_by"].append(2)
    assert stuck(a, b) == set()


def test_of_a_select_one_way_out_is_enough() -> None:
    a, b = two_that_wait()
    b.head["tasks"][0]["waits"].append({"to": "receive", "on": [["t", "client", 9]]})
    assert stuck(a, b) == set()


def test_of_several_senders_one_that_goes_on_is_enough() -> None:
    a = Server("a", 1)
    a.task(1, ("receive", "", "receiver", 1))
    a.pipe(1, sender=1, receiver=1)
    assert stuck(a) == {"a1"}  # it waits for itself
    a.task(2)
    a.head["pipes"][0]["sender"]["held_by"] = [1, 2]
    assert stuck(a) == set()


def test_who_waits_for_those_it_has_started_is_stuck_with_one_of_them() -> None:
    a, b = two_that_wait()
    a.task(2, group=[1, 3])
    a.task(3)
    a.task(4, group=[3])
    assert stuck(a, b) == {"a1", "a2", "b1"}


def test_who_waits_for_a_deadlock_is_stuck_and_in_no_circle() -> None:
    a, b = two_that_wait()
    a.task(2, ("receive", "", "receiver", 7))
    a.pipe(7, sender=1, receiver=2)
    waiting = Waiting([a.report(), b.report()])
    found = waiting.stuck()
    assert [waiting.tasks[name].name for name in found] == ["a1", "a2", "b1"]
    (circle,) = circles(found)
    assert {waiting.tasks[name].name for name in circle} == {"a1", "b1"}


def test_a_message_that_is_under_way_ends_it() -> None:
    a, b = Server("a", 1), Server("b", 2)
    a.task(1, ("receive", "s", "client", 2))
    b.task(1, ("receive", "s", "server", 1))
    a.end("s", "client", 1, 1, sent=1, untaken=1)
    b.end("s", "server", 1, 1, taken=0)
    b.end("s", "server", 2, 1)
    a.end("s", "client", 2, 1)
    assert stuck(a, b) == set()
    b.sessions["s", "server"]["channels"][0]["taken"] = 1
    a.sessions["s", "client"]["channels"][0]["untaken"] = 0
    assert stuck(a, b) == {"a1", "b1"}


def ring_with_relay() -> list[Server]:
    a, b = Server("a", 1), Server("b", 2)
    c = Server("c", 3)
    a.task(1, ("send", "ac", "client", 1))
    a.end("ac", "client", 1, 1, sent=1, untaken=1, capacity=0)
    c.end("ac", "server", 1, onward=[["cb", "client", 3]], capacity=0)
    c.end("cb", "client", 3, onward=[["ac", "server", 1]], sent=1, untaken=1, capacity=0)
    b.end("cb", "server", 3, 1, arrived=5, capacity=0)
    b.task(1, ("send", "ba", "client", 1))
    b.end("ba", "client", 1, 1, sent=1, untaken=1, capacity=0)
    a.end("ba", "server", 1, 1, arrived=5, capacity=0)
    return [a, b, c]


def test_a_relay_hands_the_question_on() -> None:
    a, b, c = ring_with_relay()
    assert stuck(a, b, c) == {"a1", "b1"}
    assert stuck(a, b) == set()


def test_what_has_gone_on_in_between_is_no_deadlock() -> None:
    a, b = two_that_wait()
    before = Waiting([a.report(), b.report()])
    assert len(deadlock(before, before)) == 2
    b.head["tasks"][0]["turn"] = 2  # it waits again, for the next one
    assert deadlock(before, Waiting([a.report(), b.report()])) == {}
    a, b = two_that_wait()
    for server in (a, b):
        for session in server.sessions.values():
            session["channels"][0]["sent"] = 2
    assert deadlock(before, Waiting([a.report(), b.report()])) == {}


def reaches(graph: Stuck, start: object, end: object) -> bool:
    seen, waiting = set(), list(graph[start])  # type: ignore[index]
    while waiting:
        one = waiting.pop()
        if one == end:
            return True
        if one not in seen:
            seen.add(one)
            waiting += graph[one]
    return False


@pytest.mark.parametrize("seed", range(20))
def test_circles_are_those_who_reach_themselves(seed: int) -> None:
    choose = random.Random(seed)
    names = [("p", number) for number in range(9)]
    graph: Stuck = {name: frozenset(choose.sample(names, choose.randrange(3))) for name in names}
    found = circles(graph)
    assert {name for group in found for name in group} == {name for name in names if reaches(graph, name, name)}
    for group in found:
        assert all(reaches(graph, one, other) for one in group for other in group)


def test_a_long_line_in_which_the_last_goes_on_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    goes_on = Waiting._goes_on

    def counted(self: Waiting, *args: Any) -> bool:
        asked.append(args)
        return goes_on(self, *args)

    monkeypatch.setattr(Waiting, "_goes_on", counted)
    line = Server("a", 1)
    for number in range(1, 300):
        line.task(number, ("receive", "", "receiver", number))
        line.pipe(number, sender=number + 1, receiver=number)
    assert stuck(line) == set()
    assert len(asked) < 2 * 300


def test_what_there_is_no_room_to_answer_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_ANSWERED", 3)
    assert stuck(*two_that_wait()) == set()


@pytest.mark.parametrize("relays", [1, 3])
def test_so_many_relays_are_asked_for(monkeypatch: pytest.MonkeyPatch, relays: int) -> None:
    monkeypatch.setattr(waiting, "DEEPEST", 4)
    a = Server("a", 1)
    a.task(1, ("send", "s", "client", 1))
    a.end("s", "client", 1, 1)
    onward = [["t", "client", number] for number in range(relays)]
    a.end("s", "server", 1, onward=onward)
    for _, _, number in onward:
        a.end("t", "client", number)
        a.end("t", "server", number, 1)
    assert stuck(a) == ({"a1"} if relays == 1 else set())
