"""Whom we connect to may not be there yet: ``wait`` and ``--wait``."""

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, ByteStreamConnectable

import chanlink
from chanlink import ConnectFailed, HandshakeError, Identity, SessionError, Trust, UntrustedPeer, WrongPeer
from chanlink.command import cli as chanlink_cli
from chanlink.transport import dial
from examples.rexec.cli import main as rexec_cli
from tests.command.calls import environment
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.rexec.servers import Server

ALICE, MALLORY, SERVER = (Identity.generate(name) for name in ("alice", "mallory", "server"))


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to connect."""
    made: list[Any] = []
    places_of = dial.places_of

    async def counted(address: Any) -> Any:
        made.append(address)
        return await places_of(address)

    monkeypatch.setattr(dial, "places_of", counted)
    return made


def listen(address: str, **options: Any) -> Any:
    return chanlink.listen(address, identity=SERVER, trust=Trust.of(ALICE.public_key), services={}, **options)


def connect(address: Any, **options: Any) -> Any:
    return chanlink.connect(address, **{"identity": ALICE, "peer": SERVER.public_key, "wait": PATIENCE} | options)


class Through(ByteStreamConnectable):
    """A connectable of somebody's own."""

    def __init__(self, path: Path, attempts: list[Any]) -> None:
        self.path = path
        self.attempts = attempts

    async def connect(self) -> ByteStream:
        self.attempts.append(self)
        return await anyio.connect_unix(self.path)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["tcp", "no file", "a file that was left behind", "connectable"])
async def test_a_server_that_starts_later_is_waited_for(kind: str, attempts: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "s"
    address: Any = f"tcp://127.0.0.1:{free_port()}" if kind == "tcp" else f"unix:{path}"
    if kind == "a file that was left behind":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    pings: list[float] = []

    async def ping() -> None:
        async with connect(Through(path, attempts) if kind == "connectable" else address) as session:
            pings.append(await session.ping())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ping)
        with anyio.fail_after(PATIENCE):
            while len(attempts) < 3:
                await anyio.sleep(0.01)
            async with listen(address):
                while not pings:
                    await anyio.sleep(0.01)


@asynccontextmanager
async def someone_else(answer: bytes) -> AsyncIterator[str]:
    """A server of another protocol."""

    async def speak(stream: ByteStream) -> None:
        async with stream:
            await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, speak)
        yield f"tcp://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()
    await listener.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"identity": MALLORY}, UntrustedPeer),
        ({"peer": MALLORY.public_key}, WrongPeer),
        ({"peer": None, "trust": Trust.of(MALLORY.public_key)}, UntrustedPeer),
        ({"psk": bytes(range(32)), "timeout": 0.2}, HandshakeError),
    ],
    ids=["it refuses us", "another key", "we refuse it", "another pre-shared key"],
)
async def test_a_server_that_is_there_and_refuses_is_asked_once(
    options: dict[str, Any], error: type[SessionError], attempts: list[Any]
) -> None:
    async with listen("tcp://127.0.0.1:0") as listener:
        with pytest.raises(error):
            async with connect(listener.addresses[0], **options):
                pass
    assert len(attempts) == 1


@pytest.mark.anyio
async def test_what_will_not_change_is_tried_once(attempts: list[Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address in (f"unix:{tmp_path}/file/s", f"tcp://{'x' * 70}.example"):
        with pytest.raises(ConnectFailed):
            async with connect(address):
                pass
    async with someone_else(b"SSH-2.0-OpenSSH_9.2\r\n") as address:
        with pytest.raises(HandshakeError):
            async with connect(address):
                pass
    assert len(attempts) == 3


@pytest.mark.anyio
async def test_after_the_wait_the_last_error_is_raised(attempts: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="No such file"):
        async with connect(f"unix:{tmp_path}/s", wait=0.2):
            pass
    assert len(attempts) > 1
    del attempts[:]
    with pytest.raises(ConnectFailed, match="No such file"):
        async with connect(f"unix:{tmp_path}/s", wait=0):
            pass
    assert len(attempts) == 1


# --- the commands -------------------------------------------------------------------------------

CLIENT = """
import os, sys
from chanlink.transport import dial

places_of, attempts = dial.places_of, []

async def late(address):
    attempts.append(address)
    if len(attempts) == 3:
        os.symlink("real", "late")
    return await places_of(address)

dial.places_of = late
try:
    status = main(sys.argv[1:])
finally:
    print(len(attempts), "attempts", file=sys.stderr)
sys.exit(status)
"""
KEYS = ["--identity", "client", "--peer", "server.pub"]
COMMANDS = {
    "chanlink": {
        "ping": ["-c", "1", "unix:late"],
        "cat": ["unix:late"],
        "forward": ["--listen", "unix:server", "--to", "unix:/nowhere", "unix:late"],
        "bench": ["unix:late"],
        "top": ["--once", "unix:late"],
        "graph": ["unix:late"],
    },
    "examples.rexec": {
        "run": ["unix:late", "--", "true"],
        "cp": ["unix:late:/dev/null", "copy"],
        "ps": ["unix:late"],
        "attach": ["unix:late", "no-such-command"],
        "kill": ["unix:late", "no-such-command"],
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It listens on a path that clients are not told: they wait for a link to it."""
    folder = tmp_path_factory.mktemp("rexec")
    server = Server(folder, "--listen", f"unix:{folder}/real")
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "command"), [(program, command) for program, commands in COMMANDS.items() for command in commands]
)
def test_every_command_that_connects_waits_if_it_is_told_to(server: Server, program: str, command: str) -> None:
    words = [*KEYS, "--wait", str(PATIENCE), *COMMANDS[program][command]]
    script = f"from {program}.{'command' if program == 'chanlink' else 'cli.main'} import main\n{CLIENT}"
    done = subprocess.run(
        [sys.executable, "-c", script, command, *words],
        cwd=server.directory, env=environment(server.directory), input=b"", capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    os.unlink(server.directory / "late")
    said = done.stderr.decode()
    assert "3 attempts" in said
    assert "check the address" not in said


def test_every_command_that_connects_is_tried() -> None:
    """Those that say which key they expect of a server."""
    for program, modules in (("chanlink", chanlink_cli.COMMANDS), ("examples.rexec", rexec_commands())):
        commands = argparse.ArgumentParser().add_subparsers()
        for module in modules:
            module.add(commands)
        found = {name for name, parser in commands.choices.items() if "--peer" in parser._option_string_actions}
        assert found == set(COMMANDS[program])


def rexec_commands() -> list[Any]:
    return [import_module(f"examples.rexec.cli.commands.{name}") for name in rexec_cli.COMMANDS]
