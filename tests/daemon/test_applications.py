"""The applications that have advertised a service."""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chanlink.daemon.accounts import Caller
from chanlink.daemon.applications import Application, Applications
from chanlink.daemon.audit import Audit
from chanlink.daemon.bounds import ADVERTISED, Full
from chanlink.daemon.journal import INCOMING, Journal
from chanlink.daemon.lines import ATTACH, Lines
from chanlink.handover.messages import Changed, Over
from chanlink.handover.passing import Line

from .rows import row

CALLER = Caller(os.getpid(), 1001)


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    journal = Journal(tmp_path / "sessions")
    yield Lines(journal, Audit(tmp_path / "audit"), 0.0)
    journal.close()


@pytest.fixture
def applications(lines: Lines) -> Applications:
    return Applications(lines)


class Pair:
    """An application, and the other end of its line."""

    def __init__(self, service: str = "ping", caller: Caller = CALLER) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.application = Application(Line(ours), caller, "alice", service, 0)
        self.other = Line(theirs)

    def close(self) -> None:
        self.application.line.close()
        self.other.close()


@pytest.fixture
async def pairs(anyio_backend: object) -> AsyncIterator[list[Pair]]:
    made = [Pair(), Pair(), Pair("echo")]
    yield made
    for pair in made:
        pair.close()


@pytest.mark.anyio
async def test_the_one_with_the_fewest_sessions_is_chosen(
    lines: Lines, applications: Applications, pairs: list[Pair]
) -> None:
    one, two, other = (pair.application for pair in pairs)
    for application in (one, two, other):
        applications.add(application)
    for number in range(10):
        chosen = applications.choose("ping")
        assert chosen is not None
        chosen.take(lines.begin(row(bytes([number]) * 16, INCOMING), chosen))
    assert (len(one.sessions), len(two.sessions), len(other.sessions)) == (5, 5, 0)
    for id_ in list(one.sessions)[:3]:
        one.lost(id_)
    assert [applications.choose("ping") for _ in range(3)] == [one, one, one]


@pytest.mark.anyio
async def test_one_that_has_withdrawn_or_is_gone_is_not_chosen(applications: Applications, pairs: list[Pair]) -> None:
    one, two, _ = (pair.application for pair in pairs)
    applications.add(one)
    applications.add(two)
    one.withdraw()
    assert [applications.choose("ping") for _ in range(3)] == [two, two, two]
    applications.remove(two, 0.0)
    assert applications.choose("ping") is None
    assert len(applications) == 1


def test_nobody_is_chosen_for_what_nobody_serves(applications: Applications) -> None:
    assert applications.choose("ping") is None


@pytest.mark.anyio
async def test_the_sessions_of_one_that_is_gone_wait_for_another_one(
    lines: Lines, applications: Applications, pairs: list[Pair]
) -> None:
    one, two, _ = (pair.application for pair in pairs)
    applications.add(one)
    applications.add(two)
    entries = [lines.begin(row(bytes([number]) * 16, INCOMING), one) for number in range(2)]
    for entry in entries:
        one.take(entry)
    two.take(entries[1])
    assert list(one.sessions) == [entries[0].id]
    applications.remove(one, 0.0)
    lines.step(ATTACH, 0.0)
    assert list(lines) == [entries[1]]


@pytest.mark.anyio
async def test_it_is_told_of_its_sessions(lines: Lines, pairs: list[Pair]) -> None:
    application = pairs[0].application
    entry = lines.begin(row(b"1" * 16, INCOMING), application)
    application.take(entry)
    lines.change(entry, entry.row._replace(name="another"))
    lines.revoke(entry)
    assert not application.sessions
    data = [pairs[0].other.raw_socket.recv(1_000) for _ in range(2)]
    assert data == [Changed(id=entry.id, name="another").packed(), Over(id=entry.id, code="revoked").packed()]


@pytest.mark.anyio
async def test_one_that_does_not_read_what_it_is_told_has_no_line(lines: Lines, pairs: list[Pair]) -> None:
    application = pairs[0].application
    entry = lines.begin(row(b"1" * 16, INCOMING), application)
    for _ in range(100_000):
        application.rename(entry.id, "another")
        if application.line.raw_socket.fileno() < 0:
            break
    assert application.line.raw_socket.fileno() < 0
    application.tell(entry.id, "revoked")


@pytest.mark.anyio
async def test_one_user_advertises_so_many(applications: Applications, pairs: list[Pair]) -> None:
    first = pairs[0].application
    made = [Application(first.line, CALLER, "alice", "ping", 0) for _ in range(ADVERTISED.of_user)]
    for application in made:
        applications.add(application)
    with pytest.raises(Full):
        applications.add(first)
    applications.add(Application(first.line, Caller(1, 1002), "bob", "ping", 0))
    applications.remove(made[0], 0.0)
    applications.add(first)
