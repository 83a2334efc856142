"""A program carries a session: it is started for it, ends with it, and says why it has ended."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConfigError, ConnectFailed, Exec, Identity, Trust
from chanlink.transport.carried import Means
from chanlink.transport.exec import words_of
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")

SERVE = """
import os, sys, anyio, chanlink
identity = chanlink.Identity.load(sys.argv[1])
async def shout(requests, peer):
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send(request["say"].upper())
async def main():
    stream = chanlink.take_stdio()
    print("this goes to standard error")
    trust = chanlink.Trust.load(sys.argv[2])
    async with chanlink.accept(stream, identity=identity, trust=trust, services={"shout": shout}) as session:
        await session.wait_closed()
anyio.run(main)
"""


@pytest.fixture
def server(tmp_path: Path) -> list[str]:
    """The words of a program that serves by its standard input and output."""
    key, trust = tmp_path / "key", tmp_path / "trust"
    SERVER.save(key)
    trust.write_text(f"{ALICE.public_key}\n")
    return [sys.executable, "-c", SERVE, str(key), str(trust)]


async def shouted(address: Any) -> Any:
    with anyio.fail_after(PATIENCE):
        async with (
            chanlink.connect(address, identity=ALICE, peer=SERVER.public_key, timeout=PATIENCE) as session,
            await session.open("shout") as requests,
        ):
            reply, replies = chanlink.pipe()
            await requests.send({"say": "hello", "reply": reply})
            return await replies.receive()


async def test_a_session_by_a_program(server: list[str]) -> None:
    assert await shouted(Exec(server)) == "HELLO"


async def test_as_a_container_is_reached(server: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """What stands between passes bytes on, as ``kubectl exec -i`` does; what it says goes to our standard error."""
    assert await shouted(Exec(["sh", "-c", 'echo on the way >&2; cat | "$@" | cat', "sh", *server])) == "HELLO"
    said = capfd.readouterr()
    assert "on the way" in said.err
    assert "this goes to standard error" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-program-here"], "no-such-program-here ended with status 127: there is no such program"),
        (["sh", "-c", "exit 3"], "sh ended with status 3"),
        (["sh", "-c", "kill -9 $$"], "sh was ended by signal 9"),
        (["true"], "true ended with status 0"),
    ],
    ids=["none", "status", "signal", "true"],
)
async def test_a_child_that_dies_is_named(argv: list[str], words: str) -> None:
    with pytest.raises(ConnectFailed, match=words):
        await shouted(Exec(argv))


async def test_one_that_speaks_something_else_is_no_server() -> None:
    with pytest.raises(chanlink.SessionError):
        await shouted(Exec(["sh", "-c", "echo hello; exec cat"]))


async def test_it_ends_with_its_connection_also_when_it_does_not_want_to() -> None:
    stubborn = Exec(["sh", "-c", 'trap "" TERM; echo $$; while :; do sleep 0.05; done'])
    stream = await stubborn.connect_with(Means())
    pid = int(await stream.receive())
    assert Path(f"/proc/{pid}").exists()
    await anyio.aclose_forcefully(stream)
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_who_is_cancelled_leaves_no_child(tmp_path: Path) -> None:
    silent = Exec(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 1000"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shouted, silent)
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        tasks.cancel_scope.cancel()
    pid = (tmp_path / "pid").read_text().strip()
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_ctrl_c_does_not_reach_it() -> None:
    stream = await Exec(["sh", "-c", "kill -INT $$; kill -QUIT $$; echo on"]).connect()
    async with stream:
        assert await stream.receive() == b"on\n"


async def test_its_environment_and_folder(tmp_path: Path) -> None:
    stream = await Exec(["sh", "-c", "echo $WORD; pwd"], env={"WORD": "yes"}, cwd=tmp_path).connect()
    async with stream:
        said = b""
        while said.count(b"\n") < 2:
            said += await stream.receive()
    assert said.decode().split() == ["yes", str(tmp_path)]


async def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed):
        await Exec(["true"], cwd=tmp_path / "none").connect()


async def test_no_descriptors_are_left(server: list[str]) -> None:
    await shouted(Exec(server))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await shouted(Exec(server))
        with pytest.raises(ConnectFailed):
            await Exec(["true"], cwd="/no/such/folder").connect()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_it_needs_the_key() -> None:
    with pytest.raises(ConfigError, match="peer="):
        async with chanlink.connect(Exec(["true"]), identity=ALICE):
            pass
    with pytest.raises(chanlink.ChanlinkError):
        async with chanlink.connect(Exec(["true"]), identity=ALICE, trust=Trust.of(SERVER.public_key)):
            pass


@pytest.mark.parametrize("argv", ["ls -l", [1], ["a", b"b"]], ids=["text", "number", "bytes"])
def test_words_are_words(argv: Any) -> None:
    with pytest.raises(TypeError, match="argv"):
        Exec(argv)


@pytest.mark.parametrize("argv", [[], ["a\0b"]], ids=["none", "zero"])
def test_words_that_no_program_can_have(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match="argv"):
        Exec(argv)


def test_what_a_status_says() -> None:
    assert words_of(-signal.SIGKILL) == "was ended by signal 9"
    assert words_of(1) == "ended with status 1"
    assert "can't be run" in words_of(126)


def test_how_it_is_shown() -> None:
    assert repr(Exec(["kubectl", "exec"])) == "Exec(['kubectl', 'exec'])"
    assert str(Exec(["kubectl"])) == ""
