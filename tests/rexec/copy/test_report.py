"""What one side of a copy tells."""

from typing import Any

import pytest

import chanlink
from examples.rexec.copy.report import Remark, Report
from examples.rexec.words import LINE_MAX

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


async def told(reports: chanlink.Receiver[Any]) -> list[Any]:
    return [report async for report in reports]


async def test_it_counts_what_was_written_and_what_was_there() -> None:
    words, reports = chanlink.pipe(10)
    report = Report(words)
    report.add(5)
    report.add_spared(7)
    report.add_file()
    await report.total(3, 20)
    await report.done()
    words.close()
    assert await told(reports) == [{"total": [3, 20]}, {"done": [1, 12, 7]}]


async def test_how_far_it_is_is_told_now_and_then_and_waits_for_nobody() -> None:
    words, reports = chanlink.pipe(10)
    report = Report(words)
    for _ in range(100):
        report.tell(b"name")
    words.close()
    assert (await told(reports))[0] == {"at": [0, 0, 0], "name": b"name"}
    words, reports = chanlink.pipe()
    async with words, reports:
        Report(words).tell(b"there is no room for it")


async def test_remarks_are_problems_or_notes_and_never_long() -> None:
    words, reports = chanlink.pipe(10)
    await Report(words).say([Remark("x" * 5_000), Remark("left out", is_problem=False)])
    await Report(words).failed("y" * 5_000)
    words.close()
    assert await told(reports) == [{"problem": "x" * LINE_MAX}, {"note": "left out"}, {"failed": "y" * LINE_MAX}]
