"""A server that is stopped tells those who wait for it."""

import subprocess
from pathlib import Path

import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import run, start
from examples.rexec.server.service import SERVICE, service
from tests.rexec.servers import FAMILY, PATIENCE, alive, assert_one_line, gone, running, serving
from tests.rexec.sessions import read_line


class TestStopped:
    """Who waits for a server that is stopped, is told so, after its command has ended."""

    @pytest.mark.parametrize("name", ["run", "attach"])
    def test_it_is_said_in_a_line(self, tmp_path: Path, name: str) -> None:
        with serving(tmp_path, "--grace", "0.2") as server:
            command = server.command("sh", "-c", FAMILY)
            if name == "attach":
                subprocess.run(server.command("sh", "-c", FAMILY, options=["--detach", "--name", "x"]), check=True)
                command = server.rexec("attach", "x")
            with running(command) as (client, pids):
                server.stop()
                gone(pids)
                _, said = client.communicate(timeout=PATIENCE)
                assert client.returncode == 255
                assert said.decode() == f"rexec: {server.address}: the server was stopped, and what it ran\n"

    def test_a_detached_command_that_is_not_there_is_the_same_mistake_for_all(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server:
            for name in ("attach", "kill"):
                assert_one_line(server.call(name, "nosuch"), "there is no detached command of this name", status=255)

    @pytest.mark.anyio
    async def test_all_commands_end_and_no_other_begins(self, no_leaks: object) -> None:
        us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
        trust = chanlink.Trust.of(us.public_key)
        async with (
            service(grace=0.1) as rexec,
            chanlink.listen("tcp://127.0.0.1:0", identity=them, trust=trust, services={SERVICE: rexec}) as listener,
            chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as session,
            start(session, ["sh", "-c", f"trap '' TERM; {FAMILY}"]) as stubborn,
            start(session, ["sh", "-c", FAMILY]) as other,
        ):
            pids = [*(await read_line(stubborn.stdio)).split(), *(await read_line(other.stdio)).split()]
            await rexec.stop()
            assert not any(alive(int(pid)) for pid in pids)
            for command in (stubborn, other):
                with pytest.raises(chanlink.ChannelFailed) as caught:
                    await command.wait()
                assert (caught.value.code, caught.value.text) == (
                    messages.STOPPED,
                    "the server was stopped, and what it ran",
                )
            with pytest.raises(chanlink.ChannelFailed):
                await run(session, ["true"])
            await rexec.stop()
