"""What a server reports is read whatever it is, and has a bound."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chanlink.observing.graph import reading
from chanlink.observing.graph.picture import Asked, picture
from chanlink.observing.graph.reading import LONGEST_NAME, MOST_CHANNELS, MOST_NAMES, MOST_TASKS, Way, address_of, read
from tests.observing.graph.reports import drawn, two_that_wait

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "process",
    "tasks",
    "pipes",
    "left_out",
    "id",
    "side",
    "peer",
    "channels",
    "waits",
    "to",
    "on",
    "group",
    "turn",
]
MAPS = st.dictionaries(st.sampled_from([*FIELDS, "held_by", "others", "onward", "sent", "taken", "sender"]), ANYTHING)
NESTED = st.dictionaries(st.sampled_from(FIELDS), ANYTHING | st.lists(MAPS, max_size=3), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.lists(ANYTHING | NESTED, max_size=4))
def test_anything_is_read_and_drawn(messages: list[Any]) -> None:
    report = read(messages, "tcp://a")
    picture([Asked("tcp://a", (report, report), "")], everything=True)


def test_what_a_server_says() -> None:
    a, _ = two_that_wait()
    report = a.report()
    (task,) = report.tasks
    assert (task.label, task.place, task.waits[0].ways) == ("a1", "a.py:1 in run", (Way("s", "client", 1),))
    assert address_of(report.process) == "tcp://a"
    assert [(side.way.number, side.sent, side.capacity) for side in report.sides] == [(1, 1, 0), (2, 0, 0)]
    assert report.peers == {"s": "peer"}


def test_an_older_server_tells_of_no_tasks() -> None:
    report = read([{"id": "s", "peer": "bob", "channels": [{"id": 1, "end": "sender"}]}], "tcp://a")
    assert (report.process, report.tasks, len(report.sides)) == ("", (), 1)
    assert report.sides[0].others  # nobody knows who holds it


def test_names_and_numbers_have_a_bound() -> None:
    tasks = [{"id": one, "name": "x" * 1000} for one in range(MOST_TASKS + 10)]
    channels = [{"id": 1}] * (MOST_CHANNELS + 10)
    report = read([{"process": 1, "tasks": tasks}, {"id": "s", "channels": channels}], "tcp://a")
    assert (len(report.tasks), len(report.tasks[0].name), len(report.sides)) == (
        MOST_TASKS,
        LONGEST_NAME,
        MOST_CHANNELS,
    )


def test_lists_have_a_bound_together_and_what_is_left_out_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_HOLDERS", 5)
    monkeypatch.setattr(reading, "MOST_WAYS", 5)
    ways = [["s", "client", one] for one in range(3)]
    side = {"held_by": [1, 2, 3], "others": False}
    report = read(
        [
            {
                "process": 1,
                "tasks": [{"id": one, "waits": [{"to": "send", "on": ways}]} for one in (1, 2)],
                "pipes": [{"id": 1, "sender": side, "receiver": side}],
            }
        ],
        "tcp://a",
    )
    assert [(len(side.held_by), side.others) for side in report.sides] == [(3, False), (2, True)]
    assert [(len(task.waits[0].ways), task.limited) for task in report.tasks] == [(3, False), (2, True)]


def test_of_a_select_that_is_cut_nobody_knows_that_it_is_stuck() -> None:
    a, b = two_that_wait()
    (task,) = a.head["tasks"]
    task["waits"] *= MOST_NAMES
    assert len(drawn(a, b).stuck) == 2
    task["waits"].append({"to": "receive", "on": [["t", "client", 9]]})
    assert not drawn(a, b).stuck


def test_who_asks_is_not_shown() -> None:
    head = {"process": 1, "tasks": [{"id": 1, "service": "chanlink.top"}, {"id": 2, "service": "work"}]}
    assert [task.service for task in read([head], "tcp://a").tasks] == ["work"]


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\u202eright to left"])
def test_names_are_printable(name: str) -> None:
    task = read([{"process": 1, "tasks": [{"id": 1, "name": name, "place": name, "service": name}]}], "a").tasks[0]
    assert (task.label + task.place).isprintable()
