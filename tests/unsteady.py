"""A test that fails and then passes is unsteady: in CI it is named, and a few of them do not stop a change.

There, 28,000 tests run with processes, sockets and signals beside one another: one failure by chance says nothing of
the change that it would stop, and everything of the test, or of a race that has to be found. So what fails in CI runs a
second time, at once and in the same process. A second failure is one; and more than a few that pass then are one, too.
By hand nothing runs twice.
"""

from typing import Any

import pytest

from .luck import in_ci

MOST = 3
"""Unsteady tests of one run that are let pass."""


def pytest_configure(config: pytest.Config) -> None:
    if in_ci() and getattr(config.option, "reruns", 1) is None:
        config.option.reruns = 1


def _unsteady(session: pytest.Session) -> list[str]:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    return sorted({report.nodeid for report in reporter.stats.get("rerun", ())}) if reporter is not None else []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if len(_unsteady(session)) > MOST and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = terminalreporter.stats.get("rerun", ())
    if reports:
        terminalreporter.section("unsteady: failed once, and ran again")
        for report in reports:
            terminalreporter.write_line(f"unsteady: {report.nodeid}")
            terminalreporter.write_line(str(report.longrepr))
        if len({report.nodeid for report in reports}) > MOST:
            terminalreporter.write_line(f"more than {MOST} are a failure: a machine is not unlucky so often")
