"""Commands that go on without their callers."""

import signal
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, attach, detach, kill, listing
from examples.rexec.server import detached
from tests.patience import until
from tests.rexec.guard.scripts import STUBBORN
from tests.rexec.servers import alive
from tests.rexec.sessions import sessions


class Heard(anyio.abc.ByteSendStream):
    """What a command has written so far."""

    def __init__(self) -> None:
        self.data = b""

    async def send(self, item: bytes) -> None:
        self.data += item

    async def aclose(self) -> None: ...


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
            heard, ended = {"a": Heard(), "b": Heard()}, {}

            async def watch(name: str) -> None:
                ended[name] = (await attach(session, name, stdout=heard[name])).status

            async with anyio.create_task_group() as tasks:
                for name in heard:
                    tasks.start_soon(watch, name)
                await until(lambda: all(one.data for one in heard.values()))  # their traps are set
                await kill(session, "a", "USR1")
                await until(lambda: heard["a"].data == b"ready\nsignalled\n")
                for name in heard:
                    await kill(session, name)
            assert ended == {"a": -signal.SIGTERM, "b": -signal.SIGKILL}

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
