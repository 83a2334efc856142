"""The screen of ``chanlink top``."""

from typing import Any

from chanlink.command.actions.screen import STILL, Still, identity_of, report


def test_a_report_is_not_believed() -> None:
    """Whatever a server says, it is printed as text."""
    hostile: list[dict[str, Any]] = [
        {"channels": []},
        {"channels": [3, {}, {"waits": "credit", "queued": -1}, {"waits": [{}, "credit"], "service": "\x1b[2J"}]},
        {
            "peer": "\x1b]0;evil\x07\n",
            "age": float("nan"),
            "volume": 10**30,
            "channels": [{"sending": "x"}],
            "left_out": 5,
        },
    ]
    lines = report(hostile, {}, 1.0, width=200, everything=True)
    assert all(line.isprintable() for line in lines)
    assert any("x1b]0;evil" in line for line in lines)


def session(**more: Any) -> dict[str, Any]:
    known = {
        "peer": "alice",
        "key": "SHA256:a",
        "address": "tcp://a:1",
        "suite": "aegis256",
        "age": 5.0,
        "volume": 2048,
    }
    return {**known, "round_trip": 0.001, "channels": [], **more}


def channel(**more: Any) -> dict[str, Any]:
    return {"id": 1, "service": "greet", "end": "sender", "waits": [], **more}


def test_idle_channels_are_counted_and_shown_only_if_asked_for() -> None:
    sessions = [session(channels=[channel(), channel(id=3, waits=["credit"], sending=2)], left_out=4)]
    lines = report(sessions, {}, 0, width=None, everything=False)
    assert lines[0] == "1 session"
    assert lines[2] == "alice at tcp://a:1, 5 s old, 2.0 KiB, round trip 1.00 ms, aegis256"
    assert "2 here for alice to take (no credit)" in lines[4]
    assert lines[-1] == "  5 idle channels"
    assert sum("greet" in line for line in report(sessions, {}, 0, width=None, everything=True)) == 2


def test_a_rate_is_shown_of_sessions_that_were_there_before() -> None:
    before = {identity_of(session()): 1024}
    (line,) = report([session()], before, 2.0, width=None, everything=False)[2:]
    assert "2.0 KiB, 512 B/s, round trip" in line
    (line,) = report([session()], {}, 2.0, width=None, everything=False)[2:]
    assert "B/s" not in line


def test_lines_are_cut_to_the_width() -> None:
    assert all(len(line) <= 10 for line in report([session()], {}, 0, width=10, everything=True))


def test_a_channel_in_which_nothing_goes_on_says_for_how_long() -> None:
    still = Still()
    waiting = session(channels=[channel(waits=["credit"], sent=5)])
    assert still.look([waiting], 100.0) == {(identity_of(waiting), 1.0): 0.0}
    seconds = still.look([waiting], 100.0 + STILL)
    assert "for 5 s" in report([waiting], {}, 0, width=None, everything=False, still=seconds)[4]
    waiting["channels"][0]["sent"] = 6
    seconds = still.look([waiting], 110.0)
    assert "for" not in report([waiting], {}, 0, width=None, everything=False, still=seconds)[4].replace(
        "for alice", ""
    )
    assert still.look([session(channels=[channel()])], 120.0) == {}


def test_who_holds_a_channel_is_shown_if_it_is_told() -> None:
    head = {"process": 1, "tasks": [{"id": 7, "name": "worker", "place": "app.py:3 in work"}, {"id": "x"}, 5]}
    told = [head, session(channels=[channel(waits=["credit"], held_by=[7, 8, "y"])])]
    lines = report(told, {}, 0, width=None, everything=False)
    assert lines[0] == "1 session"
    assert lines[4].endswith("held by worker at app.py:3 in work")
    for nonsense in ({"tasks": 3}, {"tasks": [None]}, {}):
        report([nonsense, *told[1:]], {}, 0, width=None, everything=False)
