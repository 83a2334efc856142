"""One call at a keeper."""

from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute

from examples.rexec.cli.share.call import answer_call
from examples.rexec.cli.share.messages import Records, record

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """On uvloop, a Unix socket of anyio may wake a reader twice, which its tests take for an error."""
    return str(request.param)


class NoSessions:
    """A keeper that is asked for none."""

    def session(self, where: object, options: object) -> object:
        raise AssertionError

    def describe(self) -> list[str]:
        return ["one\tline"]

    def stop(self) -> None:
        raise AssertionError


async def said_to(folder: Path, *request: str | bytes) -> list[list[bytes]]:
    """What a keeper answers to a call."""
    path = folder / "socket"
    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:

        async def serve(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await answer_call(stream, NoSessions())  # type: ignore[arg-type]

        tasks.start_soon(listener.serve, serve)
        async with await anyio.connect_unix(path) as stream:
            assert stream.extra(SocketAttribute.raw_socket).fileno() > 2
            with open("/dev/null", "r+b") as null:
                await stream.send_fds(record(*request), [null] * 3)
            records, fields = Records(), []
            while not fields or fields[-1][0] != b"status":
                records.add(await stream.receive())
                while (taken := records.take()) is not None:
                    fields.append(taken)
        tasks.cancel_scope.cancel()
    return fields


@pytest.mark.parametrize("option", ["--identity", "--peer"])
async def test_a_home_folder_that_is_not_there_is_an_error_and_no_folder_called_so(option: str, tmp_path: Path) -> None:
    words = ["run", "--share", option, "~nobody-of-this-name/key", "tcp://127.0.0.1:1", "--", "true"]
    error, status = await said_to(tmp_path, "run", str(tmp_path), "", *words)
    assert error[0] == b"error"
    assert b"~nobody-of-this-name/key: there is no such home folder" in error[1]
    assert status == [b"status", b"255"]


async def test_it_is_told_what_is_kept(tmp_path: Path) -> None:
    assert await said_to(tmp_path, "list") == [[b"output", b"one\tline"], [b"status", b"0"]]


@pytest.mark.parametrize("request_", [["dance"], ["run", "/"], ["run", "/", ""]])
async def test_what_it_does_not_understand_is_an_error(request_: list[str], tmp_path: Path) -> None:
    error, status = await said_to(tmp_path, *request_)
    assert error[0] == b"error"
    assert status == [b"status", b"255"]
