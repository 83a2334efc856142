"""How commands end: with their callers, their server, their guard, their time."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, attach, detach, kill, listing, run, start
from examples.rexec.server import detached

from .servers import FAMILY, PATIENCE, ROOT, Server, alive, gone, running, serving, until
from .test_run import gone as all_gone
from .test_run import read_line, sessions

JOBS = """set -m; sleep 1000 & sleep 1000 & echo $$ $!; wait"""
"""A shell with job control: its jobs are in process groups of their own."""
STUBBORN = f"trap '' TERM HUP INT; {FAMILY}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("life"), "--grace", "0.5") as server:
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="finds the guard in /proc")
class TestKilled:
    """By KILL, which nothing can prepare for."""

    @pytest.mark.parametrize("script", [FAMILY, STUBBORN, JOBS])
    def test_a_killed_server_leaves_no_process_behind(self, tmp_path: Path, script: str) -> None:
        quick = ("--grace", "0.5")
        with serving(tmp_path, *quick) as server, running(server.command("bash", "-c", script)) as (client, pids):
            pids.append(server.guard)
            server.stop(signal.SIGKILL)
            gone(pids)
            assert client.wait(PATIENCE) == 255

    def test_a_server_killed_while_commands_start_leaves_none(self, tmp_path: Path) -> None:
        """Whatever the moment: each command says its id in a file before it does anything else."""
        (pids := tmp_path / "pids").mkdir()
        for delay in (0.0, 0.01, 0.03, 0.1):
            with serving(tmp_path) as server:
                script = f"touch {pids}/$$; exec sleep 1000"
                command = server.command("sh", "-c", script)
                clients = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(4)]
                until(lambda: any(pids.iterdir()))
                time.sleep(delay)  # not to wait for anything: to vary the moment
                guard = server.guard
                server.stop(signal.SIGKILL)
                for client in clients:
                    assert client.wait(PATIENCE) == 255
                gone([guard])
                gone([int(file.name) for file in pids.iterdir()])
            for file in pids.iterdir():
                file.unlink()

    def test_a_killed_server_ends_detached_commands_too(self, tmp_path: Path) -> None:
        said = tmp_path / "said"
        with serving(tmp_path) as server:
            command = server.command("sh", "-c", f"echo $$ > {said}.new; mv {said}.new {said}; {FAMILY}")
            subprocess.run([*command[:4], "--detach", *command[4:]], cwd=ROOT, check=True, timeout=PATIENCE)
            until(said.exists)
            server.stop(signal.SIGKILL)
            gone([int(said.read_text())])

    @pytest.mark.parametrize("script", [FAMILY, STUBBORN])
    def test_a_killed_guard_is_an_error_and_never_a_status(self, tmp_path: Path, script: str) -> None:
        with serving(tmp_path) as server:
            with running(server.command("sh", "-c", script)) as (client, pids):
                os.kill(server.guard, signal.SIGKILL)
                _, errors = client.communicate(timeout=PATIENCE)
                assert client.returncode == 255
                assert b"how the command ended is not known" in errors
                gone(pids)
            assert server.run("echo", "on").stdout == b"on\n"  # another guard has taken its place

    def test_the_guard_survives_what_ends_a_group_of_services(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, running(server.command("sh", "-c", FAMILY)) as (client, pids):
            os.kill(server.guard, signal.SIGTERM)
            assert server.stop() == 0
            gone(pids)
            assert client.wait(PATIENCE) == 255


@pytest.mark.skipif(sys.platform != "linux", reason="finds it in /proc")
class TestSpare:
    """The child of the guard that is forked before it is needed."""

    def test_one_that_was_killed_is_replaced_and_the_command_runs_once(self, tmp_path: Path, server: Server) -> None:
        until(lambda: server.spare)
        os.kill(server.spare, signal.SIGKILL)
        assert server.run("sh", "-c", f"echo once | tee -a {tmp_path}/said").stdout == b"once\n"
        assert (tmp_path / "said").read_text() == "once\n"

    def test_it_holds_nothing_that_others_wait_for(self, server: Server) -> None:
        before = server.spare
        with running(server.command("sh", "-c", FAMILY)):
            until(lambda: server.spare not in (0, before))
            spare = Path(f"/proc/{server.spare}/fd")
            until(lambda: len(list(spare.iterdir())) == 4)  # the standard ones, and its line
            assert sum(os.readlink(file).startswith(("socket", "pipe")) for file in spare.iterdir()) == 1

    def test_it_goes_with_the_guard(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server:
            until(lambda: server.spare)
            pids = [server.guard, server.spare]
            os.kill(server.guard, signal.SIGKILL)
            gone(pids[1:])
        with serving(tmp_path) as server:
            until(lambda: server.spare)
            pids = [server.guard, server.spare]
            server.stop(signal.SIGKILL)
            gone(pids)

    def test_one_that_was_stopped_holds_up_no_order_that_it_does_not_read(self, server: Server) -> None:
        """The guard would wait for it, and everybody for the guard."""
        until(lambda: server.spare)
        spare = server.spare
        os.kill(spare, signal.SIGSTOP)
        done = server.run("sh", "-c", "echo $0 | wc -c", "a" * 100_000, *["b" * 100_000] * 9)
        assert done.stdout.split() == [b"100001"]
        gone([spare])

    def test_a_guard_that_has_no_descriptor_left_says_so_and_goes_on(self, server: Server) -> None:
        assert server.run("true").returncode == 0
        until(lambda: server.spare)
        guard = server.guard
        os.kill(server.spare, signal.SIGKILL)
        before = resource.prlimit(guard, resource.RLIMIT_NOFILE)
        # Four for the command, and for its child, which needs two, only the place of the spare's line.
        most = len(os.listdir(f"/proc/{guard}/fd")) + 4
        resource.prlimit(guard, resource.RLIMIT_NOFILE, (most, before[1]))
        done = server.run("echo", "on")
        resource.prlimit(guard, resource.RLIMIT_NOFILE, before)
        assert done.stderr == b"rexec: cannot-start: the command: Too many open files\n"
        assert server.run("echo", "on").stdout == b"on\n"

    def test_an_order_that_no_socket_holds_at_once_arrives_whole(self, server: Server) -> None:
        words = [letter * 100_000 for letter in "abcdefghij"]
        assert server.run("sh", "-c", 'printf %s "$@" | wc -c', "sh", *words).stdout.split() == [b"1000000"]


class TestInterrupted:
    def test_ctrl_c_is_passed_on_and_the_status_comes_back(self, server: Server) -> None:
        script = "trap 'echo caught; exit 7' INT; echo $$ $$; while :; do sleep 0.05; done"
        with running(server.command("sh", "-c", script)) as (client, _):
            client.send_signal(signal.SIGINT)
            assert client.communicate(timeout=PATIENCE) == (b"caught\n", b"")
            assert client.returncode == 7

    def test_a_command_that_dies_of_it_ends_us_the_same_way(self, server: Server) -> None:
        with running(server.command("sh", "-c", "echo $$ $$; exec sleep 1000")) as (client, _):
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT

    def test_twice_gives_up_a_command_that_does_not_listen(self, server: Server) -> None:
        script = "trap 'echo caught' INT; trap '' TERM; echo $$ $$; while :; do sleep 0.05; done"
        with running(server.command("sh", "-c", script)) as (client, pids):
            client.send_signal(signal.SIGINT)
            assert client.stdout is not None
            assert client.stdout.readline() == b"caught\n"
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT
            gone(pids)

    def test_twice_gives_up_when_nobody_answers(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, running(server.command("sh", "-c", FAMILY)) as (client, pids):
            server.process.send_signal(signal.SIGSTOP)
            try:
                client.send_signal(signal.SIGINT)
                time.sleep(0.2)  # two signals that come at once are one
                client.send_signal(signal.SIGINT)
                assert client.wait(PATIENCE) == -signal.SIGINT
            finally:
                server.process.send_signal(signal.SIGCONT)
            gone(pids)

    def test_before_there_is_a_command_it_ends_us_at_once(self, server: Server) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            command = [address if word == server.address else word for word in server.command("true")]
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as client:
                connection, _ = silent.accept()
                with connection:
                    client.send_signal(signal.SIGINT)
                    assert client.wait(PATIENCE) == -signal.SIGINT


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
class TestDetached:
    async def test_it_goes_on_and_can_be_attached_to(self, tmp_path: Path) -> None:
        go = tmp_path / "go"
        script = f"echo one; echo two >&2; until test -e {go}; do sleep 0.02; done; echo three; exit 4"
        async with sessions() as session:
            assert await detach(session, ["sh", "-c", script], "job") == "job"
            (entry,) = await listing(session)
            assert (entry.name, entry.status, alive(entry.pid)) == ("job", None, True)
            async with anyio.create_task_group() as tasks:

                async def other() -> None:
                    done = await attach(session, "job")
                    assert done == (4, b"one\nthree\n", b"two\n", "")

                tasks.start_soon(other)
                tasks.start_soon(other)
                await anyio.sleep(0)
                go.touch()
            assert (await attach(session, "job")).stdout == b"one\nthree\n"  # also when it is over
            (entry,) = await listing(session)
            assert (entry.status, entry.pid) == (4, 0)

    async def test_names_are_made_taken_and_free_again(self) -> None:
        async with sessions() as session:
            names = [await detach(session, ["sleep", "1000"]) for _ in range(2)]
            assert names == ["sleep-1", "sleep-2"]
            with pytest.raises(StartError) as caught:
                await detach(session, ["true"], "sleep-1")
            assert caught.value.code == messages.NAME_TAKEN
            await kill(session, "sleep-1")
            assert [entry.status for entry in await listing(session)] == [-signal.SIGTERM, None]
            assert await detach(session, ["sh", "-c", "exit 2"], "sleep-1") == "sleep-1"
            assert (await attach(session, "sleep-1")).status == 2
            for name in ("none", "sleep-3"):
                with pytest.raises(StartError) as caught:
                    await attach(session, name)
                assert caught.value.code == messages.NO_SUCH_COMMAND

    async def test_one_that_can_not_be_started_is_a_typed_error_and_leaves_no_name(self) -> None:
        async with sessions() as session:
            with pytest.raises(StartError) as caught:
                await detach(session, ["there-is-no-such-command"], "x")
            assert caught.value.code == messages.NOT_FOUND
            assert await listing(session) == []

    async def test_signals_and_kill_reach_it(self) -> None:
        async with sessions(grace=0.2) as session:
            script = "trap 'echo signalled' USR1; echo ready; while :; do sleep 0.02; done"
            await detach(session, ["sh", "-c", script], "a")
            await detach(session, ["sh", "-c", STUBBORN], "b")
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    done = await attach(session, "a")
                    assert (done.status, done.stdout) == (-signal.SIGTERM, b"ready\nsignalled\n")

                tasks.start_soon(watch)
                while not (await listing(session))[0].pid:
                    await anyio.sleep(0.01)
                await anyio.sleep(0.2)
                await kill(session, "a", "USR1")
                await anyio.sleep(0.2)
                await kill(session, "a")
            await kill(session, "b")
            assert (await attach(session, "b")).status == -signal.SIGKILL

    async def test_only_the_end_of_much_output_is_kept_and_that_is_said(self) -> None:
        async with sessions() as session:
            await detach(session, ["seq", "1000000"], "much")
            while (await listing(session))[0].status is None:
                await anyio.sleep(0.02)
            done = await attach(session, "much")
            assert len(done.stdout) <= detached.KEPT
            dropped = 6_888_896 - len(done.stdout)
            assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 1_000_001))[dropped:]
            assert done.note == f"the first {dropped} bytes of its output were not kept"

    async def test_whoever_is_attached_loses_nothing_however_slow(self) -> None:
        class Slow(anyio.abc.ByteSendStream):
            received = bytearray()

            async def send(self, item: bytes) -> None:
                await anyio.sleep(0.002)
                self.received += item

            async def aclose(self) -> None: ...

        async with sessions() as session:
            await detach(session, ["sh", "-c", "sleep 0.3; seq 600000"], "much")
            done = await attach(session, "much", stdout=(slow := Slow()))
            assert (done.status, done.note) == (0, "")
            assert slow.received == b"".join(b"%d\n" % n for n in range(1, 600_001))

    async def test_others_neither_see_nor_stop_it(self) -> None:
        us, other, them = (chanlink.Identity.generate(name) for name in ("us", "other", "them"))
        from examples.rexec.server.service import SERVICE, service

        trust = chanlink.Trust.of(us.public_key, other.public_key)
        async with (
            service() as rexec,
            chanlink.listen("tcp://127.0.0.1:0", identity=them, trust=trust, services={SERVICE: rexec}) as listener,
            chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as ours,
            chanlink.connect(listener.addresses[0], identity=other, peer=them.public_key) as theirs,
        ):
            await detach(ours, ["sleep", "1000"], "mine")
            assert await listing(theirs) == []
            for call in (kill(theirs, "mine"), attach(theirs, "mine")):
                with pytest.raises(StartError):
                    await call
            assert len(await listing(ours)) == 1


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


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="gives up rights of root")
def test_a_server_that_is_not_root_says_that_it_can_not_switch_users() -> None:
    script = """
import anyio
from examples.rexec.server.starter import Starter
from examples.rexec.policy.order import Order
from examples.rexec.messages import StartError
from examples.rexec.policy.users import look_up

async def main():
    async with Starter(1) as starter:
        try:
            await starter.start(Order([b"true"], {}, user=look_up("daemon")))
        except StartError as exc:
            print(exc.code, exc.text)

anyio.run(main)
"""
    command = ["setpriv", "--bounding-set", "-setuid,-setgid", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.startswith("not-permitted daemon: the server, which is not root,"), done


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_ctrl_c_leaves_an_attached_command_alone(server: Server) -> None:
    detached = server.command("sh", "-c", "echo $$; exec sleep 1000", options=["--detach", "--name", "alone"])
    assert subprocess.run(detached, cwd=ROOT, capture_output=True, timeout=PATIENCE).stdout == b"alone\n"
    with subprocess.Popen(server.rexec("attach", "alone"), cwd=ROOT, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        pid = int(client.stdout.readline())
        client.send_signal(signal.SIGINT)
        assert client.wait(PATIENCE) == -signal.SIGINT
    assert alive(pid)
    assert b"running" in server.call("ps").stdout
    assert server.call("kill", "alone").returncode == 0
    assert not alive(pid)
    assert server.call("attach", "alone").returncode == 128 + signal.SIGTERM
