"""What is written down of commands, also when nobody reads it."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, listing, run, start
from examples.rexec.server import audit
from examples.rexec.server.audit import Audit
from tests.rexec.server.test_requests import lines
from tests.rexec.servers import MIB, PATIENCE
from tests.rexec.sessions import read_line, sessions

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lasts seconds in earnest: to give up a pipe that nobody reads."""
    monkeypatch.setattr(audit, "PATIENCE", 0.2)


class TestAuditPipe:
    """``--audit`` may be a pipe with a name, whose reader is gone, slow, or not there yet."""

    @pytest.fixture
    def pipe(self, tmp_path: Path) -> Iterator[str]:
        os.mkfifo(tmp_path / "pipe")
        yield str(tmp_path / "pipe")
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    async def refused(self, session: chanlink.Session) -> None:
        with pytest.raises(StartError) as caught:
            await run(session, ["true"])
        assert (caught.value.code, caught.value.text) == (
            messages.CANNOT_START,
            "the server can't write its audit file",
        )

    async def test_without_a_reader_starts_are_refused_and_the_rest_is_served(self, pipe: str, quick: None) -> None:
        descriptors = os.listdir("/dev/fd")
        async with sessions(audit=Audit(pipe)) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(self.refused, session)
                for _ in range(10):
                    assert await listing(session) == []  # meanwhile
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            try:
                assert (await run(session, ["echo", "on"])).stdout == b"on\n"
                events = [json.loads(line)["event"] for line in os.read(reader, 65_536).splitlines()]
                assert events == ["start", "end"]
            finally:
                os.close(reader)
        assert len(os.listdir("/dev/fd")) == len(descriptors)

    async def test_one_that_is_full_is_waited_for(self, pipe: str) -> None:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x" * 4_095 + b"\n")
            async with sessions(audit=Audit(pipe)) as session, anyio.create_task_group() as tasks:

                async def command() -> None:
                    assert (await run(session, ["echo", "on"])).stdout == b"on\n"
                    tasks.cancel_scope.cancel()

                tasks.start_soon(command)
                assert await listing(session) == []
                read = b""
                with anyio.fail_after(PATIENCE):
                    while True:  # until the command has ended
                        with suppress(BlockingIOError):
                            read += os.read(reader, 65_536)
                        await anyio.sleep(0.01)
            with suppress(BlockingIOError):
                read += os.read(reader, 65_536)
            events = [json.loads(line)["event"] for line in read.splitlines() if not line.startswith(b"x")]
            assert events == ["start", "end"]
        finally:
            os.close(reader)
            os.close(writer)

    async def test_a_line_that_did_not_fit_is_followed_by_whole_ones(self, pipe: str, quick: None) -> None:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            async with sessions(audit=Audit(pipe)) as session:
                with pytest.raises(StartError):
                    await run(session, ["true", *["x" * 100_000] * 5])  # more than the pipe holds
                with suppress(BlockingIOError):
                    while os.read(reader, MIB):
                        pass
                assert (await run(session, ["true"])).status == 0
                _, *whole = os.read(reader, MIB).splitlines()
                assert [json.loads(line)["event"] for line in whole] == ["start", "end"]
        finally:
            os.close(reader)


class TestEnds:
    """Every start in the audit has its end there."""

    @pytest.mark.parametrize("end", ["killed", "left", "lost", "status closed", "guard"])
    async def test_however_it_ends(self, tmp_path: Path, end: str) -> None:
        path = tmp_path / "audit"
        async with sessions(audit=Audit(str(path)), grace=0.1) as session:
            with suppress(chanlink.ChanlinkError, OSError):
                async with start(session, ["sh", "-c", "echo $PPID; exec cat"]) as command:
                    guard = int(await read_line(command.stdio))
                    match end:
                        case "killed":
                            await command.signal("KILL")
                            await command.wait()
                        case "lost":
                            await session.aclose()
                        case "status closed":
                            command._replies.close()
                            await command.stdio.receive()
                        case "guard":
                            os.kill(guard, signal.SIGKILL)
                            await command.wait()
        began, ended = lines(path)
        assert (began["event"], ended["event"], began["id"]) == ("start", "end", ended["id"])
