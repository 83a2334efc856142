"""examples/rexec as a library: real commands, the server in this process, on every backend."""

import errno
import hashlib
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream, ByteSendStream

import chanlink
from examples.rexec import messages, pumps
from examples.rexec.client import BadMessage, Completed, StartError, run, start
from examples.rexec.server import streams
from examples.rexec.server.service import SERVICE
from tests.rexec.servers import FAMILY, MIB, PATIENCE, alive, until
from tests.rexec.sessions import gone, read_line, sessions


@pytest.mark.anyio
class TestLibrary:
    async def test_the_two_outputs_and_the_input_are_separate_and_exact(self) -> None:
        data = os.urandom(2 * MIB)
        async with sessions() as session:
            done = await run(session, ["sh", "-c", f"head -c {MIB}; cat >&2"], stdin=data)
        assert done == Completed(0, data[:MIB], data[MIB:])

    async def test_the_input_ends_alone(self) -> None:
        data = os.urandom(MIB)
        async with sessions() as session:
            async with start(session, ["cat"]) as cat:
                for line in (b"one\n", b"two\n"):
                    await cat.stdio.send(line)
                    assert await read_line(cat.stdio) == line
                await cat.stdio.send_eof()
                with pytest.raises(chanlink.EndOfChannel):
                    await cat.stdio.receive()
                assert await cat.wait() == 0
            done = await run(session, ["sha256sum"], stdin=data)
        assert done.stdout.decode().split()[0] == hashlib.sha256(data).hexdigest()

    @pytest.mark.parametrize(
        ("script", "status"), [("", 0), ("exit 4", 4), ("exit 127", 127), ("exit 255", 255), ("kill -9 $$", -9)]
    )
    async def test_the_status_is_that_of_the_command(self, script: str, status: int) -> None:
        async with sessions() as session:
            assert (await run(session, ["sh", "-c", script])).status == status

    @pytest.mark.parametrize(
        ("argv", "directory", "code"),
        [
            (["there-is-no-such-command"], None, messages.NOT_FOUND),
            (["/etc/passwd"], None, messages.NOT_PERMITTED),
            (["true"], "/there/is/no/such/folder", messages.NO_SUCH_DIRECTORY),
            (["true"], "/etc/passwd", messages.NO_SUCH_DIRECTORY),
            (["true", "x" * MIB], None, messages.CANNOT_START),
            (["true", "zero\0byte"], None, messages.BAD_REQUEST),
            ([""], None, messages.BAD_REQUEST),
        ],
    )
    async def test_a_command_that_cannot_be_started_is_a_typed_error(
        self, argv: list[str], directory: str | None, code: str
    ) -> None:
        async with sessions() as session:
            with pytest.raises(StartError) as caught:
                await run(session, argv, directory=directory)
            assert caught.value.code == code
            assert (await run(session, ["true"])).status == 0

    async def test_words_arrive_exactly(self) -> None:
        words = ["a b", "", "ü € 😀", "two\nlines", "$HOME `x` \"'\\", "--", "*", b"\xff\xfe", os.fsdecode(b"\xfd")]
        async with sessions() as session:
            done = await run(session, ["printf", r"%s\0", *words])
        assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]

    async def test_names_of_programs_folders_and_variables_may_be_any_bytes(self, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path) + b"/\xff \n"
        os.mkdir(folder)
        with open(folder + b"/pro\xfegram", "wb") as program:
            program.write(b'#!/bin/sh\nprintf %s "$PWD:$NAME"')
        os.chmod(folder + b"/pro\xfegram", 0o755)
        async with sessions() as session:
            environment = {b"NAME": b"\xfd\n", b"\xfc": b""}
            done = await run(session, [b"./pro\xfegram"], directory=folder, environment=environment)
            assert done == Completed(0, folder + b":\xfd\n", b"")
            with pytest.raises(StartError) as caught:
                await run(session, [b"./\xff\n"], directory=folder)
            assert caught.value.code == messages.NOT_FOUND

    async def test_folder_and_variables_are_set(self) -> None:
        async with sessions() as session:
            script = 'pwd; echo "$GREETING"; test -n "$PATH"'
            done = await run(session, ["sh", "-c", script], directory="/", environment={"GREETING": "hällo  you"})
        assert done == Completed(0, "/\nhällo  you\n".encode(), b"")

    async def test_no_output_is_ever_cut_short(self) -> None:
        expected = b"".join(b"%d\n" % n for n in range(1, 1001))
        runs = iter(range(120))

        async def some() -> None:
            for _ in runs:
                assert await run(session, ["seq", "1000"]) == Completed(0, expected, b"")

        async with sessions() as session, anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(some)

    async def test_run_returns_only_after_a_slow_reader_has_everything(self) -> None:
        class Slow(ByteSendStream):
            received = b""

            async def send(self, item: bytes) -> None:
                await anyio.sleep(0.2)  # the status has long arrived
                self.received += item

            async def aclose(self) -> None: ...

        async with sessions() as session:
            await run(session, ["echo", "all of it"], stdout=(slow := Slow()))
        assert slow.received == b"all of it\n"

    async def test_the_status_comes_only_after_the_outputs_have_ended(self, tmp_path: Path) -> None:
        ended = tmp_path / "ended"
        script = f"(sleep 0.3; echo > {ended}) & exit 3"
        async with sessions() as session, start(session, ["sh", "-c", script]) as command:
            assert await command.wait() == 3
            assert ended.exists()

    async def test_a_refused_output_is_a_closed_pipe(self) -> None:
        async with sessions() as session, start(session, ["yes"]) as yes:
            assert (await yes.stdio.receive()).startswith(b"y\n")
            yes.stdio.refuse()
            assert await yes.wait() == -signal.SIGPIPE

    async def test_an_input_that_the_command_closes_is_refused(self) -> None:
        async with sessions() as session:
            done = await run(session, ["sh", "-c", "exec <&-; echo ready; sleep 0.1"], stdin=bytes(10 * MIB))
        assert done == Completed(0, b"ready\n", b"")

    async def test_leaving_the_block_stops_the_command_and_its_children(self) -> None:
        async with sessions() as session:
            async with start(session, ["sh", "-c", FAMILY]) as command:
                pids = [int(pid) for pid in (await read_line(command.stdio)).split()]
                assert all(map(alive, pids))
            await gone(pids)

    async def test_a_lost_session_stops_the_command_and_its_children(self) -> None:
        async with sessions() as session, start(session, ["sh", "-c", FAMILY]) as command:
            pids = [int(pid) for pid in (await read_line(command.stdio)).split()]
            session.abort()
            with pytest.raises(chanlink.SessionLost):
                await command.wait()
            await gone(pids)

    async def test_a_cancelled_run_gives_the_command_time_to_clean_up(self, tmp_path: Path) -> None:
        ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
        script = f"trap 'echo bye; sleep 0.2; echo > {cleaned}; exit' TERM; echo > {ready}; while :; do echo busy; done"
        async with sessions() as session:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, session, ["sh", "-c", script])
                await anyio.to_thread.run_sync(until, ready.exists)
                tasks.cancel_scope.cancel()
            await anyio.to_thread.run_sync(until, cleaned.exists)

    async def test_a_command_that_ignores_term_is_killed(self) -> None:
        async with sessions(grace=0.2) as session:
            async with start(session, ["sh", "-c", f"trap '' TERM; {FAMILY}"]) as command:
                pids = [int(pid) for pid in (await read_line(command.stdio)).split()]
            await gone(pids)

    async def test_a_broken_off_input_is_not_taken_for_the_whole(self, tmp_path: Path) -> None:
        complete = tmp_path / "complete"
        async with sessions() as session:
            async with start(session, ["sh", "-c", f"echo $$; cat > /dev/null; echo > {complete}"]) as command:
                pid = int(await read_line(command.stdio))
                await command.stdio.send(b"half")
                command.stdio.fail("read-failed")
                assert await command.wait() == -signal.SIGTERM
            async with start(session, ["sh", "-c", f"echo $$; cat > /dev/null; echo > {complete}"]) as command:
                pid = int(await read_line(command.stdio))
                await command.stdio.send(b"half")
            await gone([pid])
        assert not complete.exists()

    async def test_what_is_left_in_the_background_may_still_write(self) -> None:
        async with sessions() as session:
            done = await run(session, ["sh", "-c", "(sleep 0.3; echo late) & echo now; exit 3"])
        assert done == Completed(3, b"now\nlate\n", b"")

    async def test_a_silent_background_process_is_not_waited_for(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(streams, "LINGER", 0.2)
        async with sessions() as session:
            done = await run(session, ["sh", "-c", "sleep 1000 & echo $!"])
            assert alive(int(done.stdout))
        os.kill(int(done.stdout), signal.SIGKILL)

    async def test_a_bad_request_is_answered_and_the_server_lives_on(self) -> None:
        async with sessions() as session:
            for wrong in (
                {"command": None},
                {"command": ["sh"]},
                {"args": "abc"},
                {"args": [1]},
                {"args": ["\0"]},
                {"stdio": None},
                {"stdio": b""},
                {"stderr": chanlink.pipe()[0]},
                {"directory": 7},
                {"environment": []},
                {"environment": {"A=B": "C"}},
                {"environment": {"A": {}}},
                {"request": "go"},
                {"request": None},
                {"control": chanlink.pipe()[0]},
                {"user": 0},
                {"user": "a b"},
                {"limits": {"height": 1}},
                {"limits": {"memory": 0}},
                {"limits": {"memory": True}},
                {"limits": {"memory": 2**61}},
                {"terminal": 80},
                {"terminal": [80]},
                {"terminal": [80, 0]},
                {"terminal": [80, 65536]},
                {"terminal": [80, 25], "detach": "name"},
                {"detach": 1},
                {"detach": "-x"},
                {"detach": "x" * 101},
                {"request": "attach"},
                {"request": "attach", "name": "x", "stdout": None},
                {"request": "kill", "name": "x", "signal": 9},
                {"request": "kill", "name": "x", "signal": "BREAK"},
                {"request": "kill", "name": "\n"},
            ):
                assert await answer(session, wrong) == messages.BAD_REQUEST, wrong
            for wrong in ({"status": None}, {"status": chanlink.byte_pipe()[0]}):
                with pytest.raises(chanlink.ChannelRefused) as refused:
                    await answer(session, wrong)
                assert refused.value.code == messages.BAD_REQUEST
            assert (await run(session, ["true"])).status == 0
            with anyio.fail_after(PATIENCE):
                while session.statistics().channels:  # no end of a bad request is left over
                    await anyio.sleep(0.01)

    async def test_a_channel_brings_one_request(self) -> None:
        async with sessions() as session, await session.open(SERVICE) as requests:
            status, replies = chanlink.pipe()
            async with status, replies:
                await requests.send({"request": "list", "status": status})
                assert await replies.receive() == {"commands": []}
            with pytest.raises(chanlink.ChannelRefused), anyio.fail_after(PATIENCE):
                await requests.send({"request": "list"})
                await requests.flush()
            assert (await run(session, ["true"])).status == 0

    async def test_a_command_without_control_takes_no_signals(self) -> None:
        async with sessions() as session, start(session, ["cat"], control=False) as command:
            with pytest.raises(RuntimeError, match="without control"):
                await command.signal("TERM")
            await command.stdio.send_eof()
            assert await command.wait() == 0

    async def test_a_server_without_the_service_is_told_apart(self) -> None:
        async with sessions("other") as session:
            with pytest.raises(chanlink.ChannelRefused) as refused:
                await run(session, ["true"])
            assert refused.value.code == "no-such-service"

    async def test_errors_of_local_streams_are_raised(self) -> None:
        class Broken(ByteReceiveStream, ByteSendStream):
            async def receive(self, max_bytes: int = 65536) -> bytes:
                raise OSError(errno.EIO, "broken")

            async def send(self, item: bytes) -> None:
                raise OSError(errno.ENOSPC, "full")

            async def aclose(self) -> None: ...

        async with sessions() as session:
            with pytest.raises(OSError, match="broken"):
                await run(session, ["cat"], stdin=Broken())
            with pytest.raises(OSError, match="full"):
                await run(session, ["yes"], stdout=Broken())

    async def test_files_that_epoll_refuses_can_be_read_and_written(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(data := os.urandom(MIB))
        with open(tmp_path / "in", "rb", 0) as source, open(tmp_path / "out", "wb", 0) as sink:
            async with sessions() as session:
                streams = {"stdin": pumps.FileSource(source), "stdout": pumps.FileSink(sink)}
                assert (await run(session, ["cat"], **streams)).status == 0
        assert (tmp_path / "out").read_bytes() == data


async def answer(session: chanlink.Session, changes: dict[str, Any]) -> str:
    """Send a request that is right but for ``changes``; the code of the answer."""
    names = ("stdio", "stdout", "stderr")
    pipes = {name: chanlink.byte_pipe() for name in (*names, "unknown")}
    status, replies = chanlink.pipe()
    theirs = {name: pipes[name][1] for name in names}
    message = {"request": "run", "command": "true", "args": [], **theirs, "status": status, **changes}
    message["unknown"] = [{"nested": pipes["unknown"][1]}]
    async with AsyncExitStack() as ours:
        requests = await ours.enter_async_context(await session.open(SERVICE))
        for end in (status, replies, *(end for pair in pipes.values() for end in pair)):
            await ours.enter_async_context(end)
        await requests.send(message)
        if message["status"] is status:
            return str((await replies.receive())["error"])
        raise await requests.wait_closed()


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        [],
        {"exit": 256},
        {"exit": -1},
        {"exit": "0"},
        {"signal": 0},
        {"signal": 128},
        {"error": 1, "text": ""},
    ],
)
def test_a_status_that_can_not_be_read_is_an_error(message: object) -> None:
    with pytest.raises(BadMessage):
        messages.read_status(message)
