"""What a queue says of itself, read by its clients."""

from typing import Any

import pytest

from chanlink import JobLost
from chanlink.patterns import FailedJob, QueueStatus, WorkerStatus
from chanlink.patterns.jobs.status import read_failed, read_status, read_word

WORKER = {"name": "w", "slots": 2, "running": ["a"]}
STATUS = {"waiting": 1, "delayed": 2, "running": 3, "done": 4, "failed": 5, "workers": [WORKER], "submitters": 6}


def test_a_status_is_what_was_said() -> None:
    assert read_status(STATUS) == QueueStatus(1, 2, 3, 4, 5, [WorkerStatus("w", 2, ["a"])], 6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"waiting": "1"},
        {"waiting": True},
        {"workers": None},
        {"workers": [WORKER] * 101},
        {"workers": [{}]},
        {"workers": [WORKER | {"running": [1]}]},
        {"workers": [WORKER | {"running": ["a"] * 101}]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_no_status_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(JobLost):
        read_status(STATUS | wrong)


def test_failed_jobs_are_what_was_said() -> None:
    assert read_failed([{"id": "a", "code": "c", "text": "t", "attempt": 2}]) == [FailedJob("a", "c", "t", 2)]


@pytest.mark.parametrize(
    "wrong", [None, {}, [1], [{"id": "a"}], [{"id": 1, "code": "c", "text": "t", "attempt": 2}]], ids=str
)
def test_what_is_no_list_of_them_is_an_error(wrong: Any) -> None:
    with pytest.raises(JobLost):
        read_failed(wrong)


def test_what_a_job_is_now_is_a_word() -> None:
    assert read_word("cancelled") == "cancelled"
    for wrong in (None, "delayed", ["done"], 1):
        with pytest.raises(JobLost):
            read_word(wrong)
