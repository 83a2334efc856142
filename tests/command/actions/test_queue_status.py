"""What ``chanlink queue status`` shows."""

from typing import Any

import pytest

from chanlink.command.actions.counting import bar
from chanlink.command.actions.queue_status import SPAN, Looks, counts, report, to_map
from chanlink.patterns import QueueStatus, WorkerStatus


def status(**more: Any) -> QueueStatus:
    known: dict[str, Any] = dict.fromkeys(("waiting", "delayed", "running", "done", "failed", "submitters"), 0)
    return QueueStatus(**{**known, "workers": [], **more})


def test_counts_and_workers_are_lines() -> None:
    workers = [
        WorkerStatus("bob", 8, [f"page-{number}" for number in range(10)]),
        WorkerStatus("alice", 1, []),
    ]
    lines = report(status(waiting=1_234, running=10, done=15, failed=1, workers=workers, submitters=1))
    assert lines == [
        "1,234 waiting, 0 delayed, 10 running, 15 done, 1 failed",
        "",
        "2 workers with 9 slots, 1 submitters",
        "  worker    slots  runs",
        "  alice    0 of 1",
        "  bob     10 of 8  page-0, page-1, page-2, page-3, page-4, page-5, page-6, page-7 and 2 more",
    ]
    assert report(status())[1:] == ["", "0 workers with 0 slots, 0 submitters"]


def test_there_may_be_more_workers_and_jobs_than_a_queue_tells_of() -> None:
    ids = [str(number) for number in range(100)]
    lines = report(status(workers=[WorkerStatus("alice", 10_000, ids)] * 100))
    assert lines[2] == "100+ workers with 1,000,000 slots, 0 submitters"
    assert "100+ of 10,000" in lines[4]


def test_names_and_ids_are_printed_as_text_and_cut() -> None:
    hostile = WorkerStatus("\x1b]0;evil\x07\n" + "x" * 500, 1, ["\x1b[2J" + "y" * 500])
    lines = report(status(workers=[hostile]))
    assert all(line.isprintable() and len(line) < 120 for line in lines)
    assert "x1b[2J" in lines[-1]


def test_programs_get_what_the_queue_said() -> None:
    told = to_map(status(waiting=3, workers=[WorkerStatus("alice", 2, ["a"])]))
    assert told.pop("time") > 1_000_000_000
    assert told == {
        "waiting": 3, "delayed": 0, "running": 0, "done": 0, "failed": 0, "submitters": 0,
        "workers": [{"name": "alice", "slots": 2, "running": ["a"]}],
    }  # fmt: skip


def test_a_rate_is_of_the_last_seconds_and_says_when_all_will_be_done() -> None:
    looks = Looks()
    assert looks.progress(status(waiting=100), 0.0) == f"{bar(0, 100)}  0 of 100"
    assert looks.progress(status(waiting=90, done=8, failed=2), 1.0) == (
        f"{bar(10, 100)}  10 of 100, 10.0 a second, 9 s to go"
    )
    for second in range(2, 40):
        shown = looks.progress(status(waiting=90, done=8, failed=2), float(second))
    assert shown == f"{bar(10, 100)}  10 of 100, 0.0 a second"  # what was more than SPAN ago is forgotten
    assert looks.progress(status(done=200), 40.0) == f"{bar(1, 1)}  200 of 200, {190 / SPAN:.1f} a second"


def test_a_queue_that_forgets_is_not_slower_than_nothing() -> None:
    looks = Looks()
    looks.line(status(done=100), 0.0)
    assert looks.line(status(done=50), 1.0) == f"{counts(status(done=50))}, 0.0 a second"


def test_an_empty_queue_has_an_empty_bar() -> None:
    assert Looks().lines(status(), 0.0)[0] == f"{bar(0, 0)}  0 of 0"


@pytest.mark.parametrize("count", [1, 2])
def test_a_terminal_has_the_bar_above_what_is_printed_otherwise(count: int) -> None:
    now = status(waiting=count, workers=[WorkerStatus("alice", 1, [])])
    assert Looks().lines(now, 0.0)[1:] == report(now)
