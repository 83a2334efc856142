"""Commands as the service runs them: their signals, their limits, and many at once."""

import os
import resource
import shutil
import signal
import subprocess
import sys

import anyio
import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, run, start
from tests.rexec.guard.scripts import JOBS
from tests.rexec.servers import FAMILY, PATIENCE, serves
from tests.rexec.sessions import gone as all_gone
from tests.rexec.sessions import read_line, sessions

server = serves("--grace", "0.5")


@pytest.mark.anyio
class TestSignals:
    async def test_signals_reach_the_command_and_its_children_by_name(self) -> None:
        child = "trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.02; done"
        script = f"trap 'echo parent; wait; exit 5' USR1; sh -c \"{child}\" & while :; do sleep 0.02; done"
        async with sessions() as session, start(session, ["sh", "-c", script]) as command:
            assert await read_line(command.stdio) == b"ready\n"
            await command.signal("USR1")
            assert sorted((await read_all(command.stdio)).splitlines()) == [b"child", b"parent"]
            assert await command.wait() == 5

    async def test_wrong_names_are_refused_here_and_there(self) -> None:
        async with sessions() as session, start(session, ["cat"]) as command:
            with pytest.raises(messages.BadMessage):
                await command.signal("BREAK")
            await command._say({"signal": "BREAK"})
            assert isinstance(await command._control.wait_closed(), chanlink.ChannelRefused)
            await command.stdio.send_eof()
            assert await command.wait() == 0

    async def test_an_interrupted_command_leaves_nothing_behind(self) -> None:
        async with sessions() as session, start(session, ["sh", "-c", FAMILY]) as command:
            pids = [int(pid) for pid in (await read_line(command.stdio)).split()]
            await command.signal("INT")  # the shell has its background ignore that
            assert await command.wait() == -signal.SIGINT
            await all_gone(pids)

    async def test_jobs_of_an_interactive_shell_end_with_it(self) -> None:
        async with sessions() as session:
            async with start(session, ["bash", "-c", JOBS]) as command:
                pids = [int(pid) for pid in (await read_line(command.stdio)).split()]
            await all_gone(pids)


@pytest.mark.anyio
class TestLimits:
    async def test_the_time_is_up_and_the_caller_is_told(self) -> None:
        async with sessions() as session:
            done = await run(session, ["sh", "-c", "echo begun; exec sleep 1000"], limits={"time": 1})
            assert (done.status, done.stdout) == (-signal.SIGTERM, b"begun\n")
            assert "its time of 1 s was up" in done.note

    async def test_the_processor_memory_and_files_are_limited(self) -> None:
        async with sessions() as session:
            busy = await run(session, ["sh", "-c", "while :; do :; done"], limits={"processor": 1})
            assert busy.status == -signal.SIGXCPU
            script = "import sys; bytearray(300 << 20)"
            big = await run(session, [sys.executable, "-c", script], limits={"memory": 200 << 20})
            assert big.status == 1
            assert b"MemoryError" in big.stderr
            shown = await run(session, ["sh", "-c", "ulimit -n"], limits={"files": 77})
            assert shown.stdout == b"77\n"

    async def test_commands_get_the_usual_limit_of_files_whatever_the_guard_has(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with sessions() as session:
            assert int((await run(session, ["sh", "-c", "ulimit -n"])).stdout) == soft

    @pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ps") is None, reason="runs commands as another user")
    async def test_a_fork_bomb_stays_within_its_limit(self) -> None:
        bomb = "bomb() { bomb | bomb & }; bomb; sleep 1; echo over"
        async with sessions() as session:
            settings = {"user": "nobody", "limits": {"processes": 30, "time": 3}}
            with anyio.fail_after(PATIENCE):
                await run(session, ["sh", "-c", bomb], **settings)
                assert (await run(session, ["echo", "on"])).stdout == b"on\n"
        processes = subprocess.run(["ps", "-o", "stat=,args=", "-U", "nobody"], capture_output=True, text=True).stdout
        assert not [line for line in processes.splitlines() if "bomb" in line and not line.startswith("Z")]

    @pytest.mark.skipif(os.geteuid() != 0, reason="runs commands as another user")
    async def test_another_user_gets_a_login_and_none_of_our_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET", "of the server")
        async with sessions() as session:
            done = await run(session, ["sh", "-c", "id -un; id -G; pwd; env"], user="daemon", environment={"A": "B"})
            name, groups, folder, *variables = done.stdout.decode().splitlines()
            assert (name, "0" in groups.split(), done.status) == ("daemon", False, 0)
            assert folder in ("/usr/sbin", "/")
            assert {"USER=daemon", "LOGNAME=daemon", "A=B"} <= set(variables)
            assert not any(line.startswith("SECRET") for line in variables)
            size = messages.Size(80, 24)
            done = await run(session, ["sh", "-c", "echo > $(tty)"], user="daemon", terminal=size)
            assert done.status == 0, done
            with pytest.raises(StartError) as caught:
                await run(session, ["true"], user="there-is-nobody-of-this-name")
            assert caught.value.code == messages.NO_SUCH_USER


@pytest.mark.anyio
class TestMany:
    async def test_two_hundred_commands_at_once_on_one_session(self) -> None:
        """All of them run before the first ends."""
        running = 0
        all_run = anyio.Event()

        async def one(session: chanlink.Session, number: int) -> None:
            nonlocal running
            async with start(session, ["sh", "-c", f"echo {number}; cat; exit {number}"]) as command:
                assert await read_line(command.stdio) == b"%d\n" % number
                running += 1
                if running == 200:
                    all_run.set()
                await all_run.wait()
                await command.stdio.send(b"%d" % number)
                await command.stdio.send_eof()
                assert await read_all(command.stdio) == b"%d" % number
                assert await command.wait() == number

        with anyio.fail_after(PATIENCE):
            async with sessions() as session, anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(one, session, number)

    async def test_output_larger_than_all_buffers_waits_for_a_slow_reader(self) -> None:
        """Neither side may keep more than the window of the stream and what the pipe holds."""
        size = 64 * 1024 * 1024
        async with sessions() as session, start(session, ["head", "-c", str(size), "/dev/zero"]) as command:
            await anyio.sleep(0.3)  # time to fill whatever would be filled
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            received = 0
            while received < size // 2:
                received += len(await command.stdio.receive())
            await anyio.sleep(0.3)
            while True:
                try:
                    received += len(await command.stdio.receive())
                except chanlink.EndOfChannel:
                    break
            assert received == size
            assert await command.wait() == 0
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < size // 2


async def read_all(stream: chanlink.ByteStream) -> bytes:
    data = b""
    while True:
        try:
            data += await stream.receive()
        except chanlink.EndOfChannel:
            return data
