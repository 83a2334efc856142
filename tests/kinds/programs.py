"""All commands of both programs, and how each is started for real.

Whoever adds a command adds it here; `test_programs` compares the table with the parsers. In the words, ``{chanlink}``
and ``{rexec}`` are the addresses of servers, ``{ours}`` the options that name the key of a client and that of the
servers, ``{served}`` those of a server, and ``{home}`` a folder that all of it is in.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from anyio.from_thread import start_blocking_portal

import chanlink
from chanlink.command.actions import benchmark
from chanlink.daemon import settings
from chanlink.daemon.folder import Folder
from chanlink.directory import Directory, directory_services
from chanlink.patterns import WorkQueue, work_queue
from tests.patience import PATIENCE
from tests.rexec.servers import ROOT, until
from tests.rexec.servers import serving as rexec_serving

MODULES = {"chanlink": "chanlink", "rexec": "examples.rexec"}


class Command(NamedTuple):
    """A row of the table."""

    line: str
    prints: bool = False
    """Whether something on standard output is what it is called for."""
    serves: str = ""
    """If it runs until it is stopped: a word that it says when it is ready, on either output."""
    talks: bool = False
    """Whether it has a session with a server."""

    @property
    def program(self) -> str:
        return self.line.split()[0]


COMMANDS = [
    Command("chanlink --help", prints=True),
    Command("chanlink --version", prints=True),
    Command("chanlink keygen {home}/made", prints=True),
    Command("chanlink keygen -", prints=True),
    Command("chanlink keygen --successor {home}/client {home}/next", prints=True),
    Command("chanlink keygen --psk -", prints=True),
    Command("chanlink id {home}/client", prints=True),
    Command("chanlink peers list --trust {home}/trust", prints=True),
    Command("chanlink peers add --trust {home}/list {home}/server.pub"),
    Command("chanlink peers add --known {home}/known --hosts *.example {home}/stranger.pub"),
    Command("chanlink peers add --trust {home}/list --issuer example --principals alice {home}/stranger.pub"),
    Command("chanlink peers remove --trust {home}/list {home}/client.pub"),
    Command("chanlink peers revoke --trust {home}/list {home}/stranger.pub"),
    Command("chanlink hosts --json", prints=True),
    Command("chanlink ping {ours} -c 1 {chanlink}", prints=True, talks=True),
    Command("chanlink cat {ours} {chanlink}", talks=True),
    Command("chanlink cat {served} --listen tcp://127.0.0.1:0", serves="listening on"),
    Command(
        "chanlink forward {ours} --listen tcp://127.0.0.1:0 --to tcp://127.0.0.1:1 {chanlink}",
        serves="leads to",
        talks=True,
    ),
    Command("chanlink forward {served} --serve tcp://127.0.0.1:0 --allow tcp://127.0.0.1:1", serves="listening on"),
    Command("chanlink stdio --help", prints=True),
    Command("chanlink bench {ours} --seconds 0.01 {chanlink}", prints=True, talks=True),
    Command("chanlink bench {served} --listen tcp://127.0.0.1:0", serves="listening on"),
    Command("chanlink top {ours} --once {chanlink}", prints=True, talks=True),
    Command("chanlink graph {ours} --dot {chanlink}", prints=True, talks=True),
    Command("chanlink graph {ours} --serve 0 {chanlink}", serves="serving ", talks=True),
    Command("chanlink queue serve {served} tcp://127.0.0.1:0", serves="listening on"),
    Command("chanlink queue status {ours} {chanlink}", prints=True, talks=True),
    Command("chanlink queue dead {ours} {chanlink}", prints=True, talks=True),
    Command("chanlink queue retry {ours} {chanlink} failed", prints=True, talks=True),
    Command("chanlink queue cancel {ours} {chanlink} failed", prints=True, talks=True),
    Command("chanlink queue submit {ours} --id failed {chanlink} 1", prints=True, talks=True),
    Command("chanlink queue work {ours} {chanlink} -- cat", serves="waits for jobs", talks=True),
    Command("chanlink directory serve {served} tcp://127.0.0.1:0", serves="listening on"),
    Command("chanlink directory list {ours} --directory {chanlink}", prints=True, talks=True),
    Command("chanlink directory lookup {ours} --directory {chanlink} web1", prints=True, talks=True),
    Command("chanlink directory watch {ours} --directory {chanlink} web1", serves="+ web1", talks=True),
    Command("chanlink directory register {ours} --directory {chanlink} web1 tcp://192.0.2.1", talks=True),
    Command("chanlink directory remove --help", prints=True),
    Command("chanlink daemon init --help", prints=True),
    Command("chanlink daemon run --folder {home}/daemon --run {home}/run --no-listen", serves="listening on"),
    Command("chanlink daemon service add --help", prints=True),
    Command("chanlink daemon user add --help", prints=True),
    Command("chanlink daemon service remove --help", prints=True),
    Command("chanlink daemon user remove --help", prints=True),
    Command("chanlink daemon status --help", prints=True),
    Command("chanlink completion bash", prints=True),
    Command("rexec --help", prints=True),
    Command("rexec --version", prints=True),
    Command("rexec completion bash", prints=True),
    Command("rexec completion --for=. bash", prints=True),
    Command("rexec key --identity {home}/client", prints=True),
    Command("rexec run {ours} {rexec} -- true", talks=True),
    Command("rexec run {ours} --detach {rexec} -- true", prints=True, talks=True),
    Command("rexec run {ours} 'there*,there' -- true", talks=True),
    Command("rexec run --share {ours} {rexec} -- true", talks=True),
    Command("rexec cp {ours} {home}/client.pub {rexec}:{home}/there", talks=True),
    Command("rexec cp {ours} {rexec}:{home}/server.pub {home}/here", talks=True),
    Command("rexec ps {ours} {rexec}", prints=True, talks=True),
    Command("rexec attach {ours} {rexec} kept", talks=True),
    Command("rexec kill {ours} -s CONT {rexec} kept", talks=True),
    Command("rexec share --list"),
    Command("rexec stdio --help", prints=True),
    Command("rexec serve {served} --listen tcp://127.0.0.1:0", serves="public key"),
]
LASTING = [
    *(command for command in COMMANDS if command.serves),
    Command("chanlink ping {ours} -c 0 {chanlink}", serves="round trip 1", talks=True),
    Command("chanlink top {ours} --json {chanlink}", serves="sessions", talks=True),
    Command("chanlink cat {ours} {chanlink}", serves="ready", talks=True),
    Command("rexec run {ours} {rexec} -- cat", serves="ready", talks=True),
    Command("rexec run --share {ours} {rexec} -- cat", serves="ready", talks=True),
    Command("rexec attach {ours} {rexec} kept", serves="ready", talks=True),
]
"""What runs until it is stopped, if its input has a line ``ready`` and does not end; `Command.serves` says when."""


class Place(NamedTuple):
    """Where commands are tried: a home with keys, and the addresses of servers."""

    home: Path
    chanlink: str = "tcp://127.0.0.1:1"
    rexec: str = "tcp://127.0.0.1:1"

    def words(self, command: Command) -> list[str]:
        """The words after the name of the program."""
        line = command.line.format(
            home=self.home,
            chanlink=self.chanlink,
            rexec=self.rexec,
            ours=f"--identity {self.home}/client --peer {self.home}/server.pub",
            served=f"--identity {self.home}/server --trust {self.home}/trust",
        )
        return shlex.split(line)[1:]

    def argv(self, command: Command) -> list[str]:
        return [sys.executable, "-m", MODULES[command.program], *self.words(command)]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **more}

    def start(
        self, command: Command, *, more: Mapping[str, str] = {}, before: Sequence[str] = (), **kwargs: Any
    ) -> "subprocess.Popen[bytes]":
        """``before`` are words that start it in some way, as ``nohup`` does."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        argv = [*before, *self.argv(command)]
        return subprocess.Popen(argv, cwd=self.home, env=self.environment(**more), **kwargs)


def make_place(home: Path) -> Place:
    for name in ("client", "server", "stranger"):
        if not (home / name).exists():
            chanlink.Identity.generate(name).save(home / name)
    if not (home / "daemon").exists():
        Folder.made(home / "daemon", settings.fresh(groups=False), "host")
    for name in ("trust", "list"):
        (home / name).write_text((home / "client.pub").read_text() + (home / "stranger.pub").read_text())
    return called(Place(home))


def called(place: Place) -> Place:
    """The same; the server of rexec has the name ``there`` from now on."""
    (place.home / ".config" / "chanlink").mkdir(parents=True, mode=0o700, exist_ok=True)
    (place.home / ".config" / "chanlink" / "hosts.toml").write_text(f'[there]\naddress = "{place.rexec}"\n')
    return place


# --- servers ------------------------------------------------------------------------------------


async def _echo(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    async for data in stream:
        await stream.send(data)
    await stream.send_eof()


@asynccontextmanager
async def _listening(home: Path) -> AsyncIterator[str]:
    async with work_queue(attempts=1) as queue:
        for job in ("failed", "dead"):
            await _fail(queue, job)
        async with _listening_with(queue, home) as address:
            yield address


async def _fail(queue: WorkQueue[Any, Any], job_id: str) -> None:
    ticket = await queue.submit(None, id=job_id)
    async with ticket, queue.jobs() as work:
        async for job in work:
            async with job:
                await job.fail("no-use")
            break


@asynccontextmanager
async def _listening_with(queue: WorkQueue[Any, Any], home: Path) -> AsyncIterator[str]:
    inspection = chanlink.Inspection()
    services: dict[str, Any] = {
        "cat": chanlink.streams(_echo),
        benchmark.SERVICE: benchmark.serve,
        inspection.SERVICE: inspection,
        "jobs": queue,
    }
    identity, trust = chanlink.Identity.load(home / "server"), chanlink.Trust.load(home / "trust")
    async with (
        directory_services() as directory,
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=identity, trust=trust, services={**services, **directory}
        ) as listener,
    ):
        inspection.watch(listener)
        await _register(listener.addresses[0], home)
        yield listener.addresses[0]


async def _register(address: str, home: Path) -> None:
    identity, peer = chanlink.Identity.load(home / "client"), chanlink.PublicKey.load(home / "server.pub")
    async with Directory(address, identity=identity, peer=peer) as directory:
        await directory.register("web1", ["tcp://192.0.2.1:9323"])


@contextmanager
def served(home: Path) -> Iterator[Place]:
    """A place with both servers; the one of rexec has a detached command with the name ``kept``."""
    place = make_place(home)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_listening(home)) as address,
        rexec_serving(home) as server,
    ):
        keep = Command("rexec run {ours} --detach --name kept {rexec} -- sh -c 'echo ready; exec sleep 1000'")
        place = called(place._replace(chanlink=address, rexec=server.address))
        with place.start(keep, stdout=subprocess.DEVNULL) as keeping:
            assert keeping.wait(PATIENCE) == 0
        yield place


class Running(NamedTuple):
    """A command that serves; `said` is a file with both of its outputs."""

    command: Command
    process: "subprocess.Popen[bytes]"
    said: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        found = re.search(r"(?:listening on|^)\s*(tcp://\S+)", self.said.read_text(), re.MULTILINE)
        assert found is not None, self.said.read_text()
        return found[1]


@contextmanager
def running(place: Place, commands: Iterable[Command], **kwargs: Any) -> Iterator[list[Running]]:
    """Start commands that serve, all at once, and wait until each of them is ready."""
    started: list[Running] = []
    inputs: list[int] = []
    try:
        for number, command in enumerate(commands):
            said = place.home / f"said{number}"
            reader, writer = os.pipe()
            os.write(writer, b"ready\n")
            inputs.append(writer)
            with said.open("wb") as out:
                process = place.start(command, stdin=reader, stdout=out, stderr=out, **kwargs)
            os.close(reader)
            started.append(Running(command, process, said))
        for one in started:
            until(lambda one=one: one.command.serves in one.said.read_text() or one.process.poll() is not None)  # type: ignore[misc]
            assert one.process.poll() is None, one.said.read_text()
        yield started
    finally:
        for one in started:
            one.process.kill()
            with one.process:
                one.process.wait(PATIENCE)
        for writer in inputs:
            os.close(writer)
