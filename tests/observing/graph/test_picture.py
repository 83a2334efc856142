"""What is in the picture, and what is not."""

import json

import pytest

from chanlink.observing.graph import picture as picturing
from chanlink.observing.graph.page import MOST_NAMED, summary
from chanlink.observing.graph.picture import MOST_ARROWS, MOST_DRAWN, Asked, picture
from tests.observing.graph.reports import Server, drawn, two_that_wait
from tests.observing.graph.test_waiting import ring_with_relay


def test_a_deadlock_is_there_with_both_channels() -> None:
    found = drawn(*two_that_wait())
    assert len(found.stuck) == 2
    assert [len(circle) for circle in found.circles] == [2]
    assert [way.number for way in found.channels] == [1, 2]
    red = [edge for edge in found.edges if edge.stuck]
    assert [edge.label for edge in red] == ["sends", "", "sends", ""]
    json.dumps(found.to_map())


def test_relays_stand_between_two_channels() -> None:
    found = drawn(*ring_with_relay())
    assert [edge.label for edge in found.edges if edge.label.startswith("relay")] == ["relay tcp://c"]
    assert len(found.circles) == 1


def test_who_waits_for_what_nobody_was_seen_to_have() -> None:
    found = drawn(*two_that_wait(others=True))
    assert not found.circles
    assert len([edge for edge in found.edges if edge.end == "others"]) == 2


def test_what_nobody_waits_for_is_left_away_unless_all_is_wanted() -> None:
    server = Server("a", 1)
    server.task(1)
    server.end("s", "server", 1, 1)
    assert (drawn(server).tasks, drawn(server).channels) == ({}, {})
    found = drawn(server, everything=True)
    assert (len(found.tasks), len(found.channels), [edge.label for edge in found.edges]) == (1, 1, ["holds"])


def test_there_is_a_bound_and_what_is_stuck_comes_first() -> None:
    a, b = two_that_wait()
    for number in range(10, MOST_DRAWN + 20):
        a.task(number)
    found = drawn(a, b, everything=True)
    assert (len(found.tasks), found.stuck <= found.tasks.keys()) == (MOST_DRAWN, True)
    assert found.left_out == 12


def test_a_deadlock_of_more_tasks_than_are_drawn_has_a_picture_and_words() -> None:
    server, count = Server("a", 1), MOST_DRAWN + 20
    everybody = list(range(count))
    for number in everybody:
        server.task(number, ("receive", "", "receiver", 1))
    server.pipe(1, sender=0, receiver=0)
    for side in "sender", "receiver":
        server.head["pipes"][0][side]["held_by"] = everybody
    found = drawn(server)
    assert len(found.circles[0]) == count
    assert len(found.edges) < MOST_ARROWS
    (line, left_out) = summary(found)
    assert line.startswith("deadlock: a0 of tcp://a (a.py:0 in run) and ")
    assert line.endswith(f" and {count - MOST_NAMED} more wait for each other")
    assert left_out == "20 more tasks and channels are left out"


def test_arrows_have_a_bound_and_those_of_a_deadlock_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picturing, "MOST_ARROWS", 4)
    a, b = two_that_wait()
    for number in range(10, 30):
        a.task(number, ("receive", "", "receiver", number))
        a.pipe(number, sender=99, receiver=number)
    a.task(99)
    a.head["tasks"].reverse()
    found = drawn(a, b)
    assert len([edge for edge in found.edges if edge.stuck]) == 4


def test_a_server_that_could_not_be_asked_is_in_it() -> None:
    a, _ = two_that_wait()
    found = picture([Asked("tcp://a", (a.report(), a.report()), ""), Asked("tcp://b", None, "nobody listens there")])
    assert not found.circles
    assert found.to_map()["servers"][1] == {"address": "tcp://b", "problem": "nobody listens there", "process": ""}
