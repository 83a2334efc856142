"""The standard streams belong to others, too: what is set at them is left as it was.

O_NONBLOCK is a flag of the open file: a program that sets it there makes the next one fail with EAGAIN.
"""

import os
import pty
import select
import shlex
import socket
import subprocess
import tty
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from anyio.from_thread import start_blocking_portal

import chanlink
from tests.command.calls import NOT_AGAIN
from tests.rexec.servers import ROOT

from .programs import PATIENCE, Command, Place


class Ends(NamedTuple):
    """What a program has as standard input and output, and where we write and read."""

    theirs: tuple[int, int]
    to: int
    of: int


@contextmanager
def _ends(kind: str) -> Iterator[Ends]:
    if kind == "socket":
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield Ends((theirs.fileno(), theirs.fileno()), ours.fileno(), ours.fileno())
    elif kind == "terminal":
        outside, inside = pty.openpty()
        tty.setraw(inside)
        yield Ends((inside, inside), outside, outside)
        os.close(outside), os.close(inside)
    else:
        (stdin, to), (of, stdout) = os.pipe(), os.pipe()
        yield Ends((stdin, stdout), to, of)
        for descriptor in (stdin, to, of, stdout):
            os.close(descriptor)


LOOPS = ("asyncio", "uvloop", "trio")
LISTENS = dict(zip(("socket", "terminal", "pipe"), LOOPS, strict=True))
"""On which event loop it is that one listens, for each kind of streams."""
CASES = [
    *(("chanlink cat {ours} {chanlink}", loop) for loop in LOOPS),
    ("rexec run {ours} {rexec} -- cat", ""),
    ("rexec run --share {ours} {rexec} -- cat", ""),
]


def _read(descriptor: int) -> bytes:
    assert select.select([descriptor], [], [], PATIENCE)[0], "nothing came"
    return os.read(descriptor, 1000)


async def _echo_to(address: str, home: Path) -> None:
    identity, peer = chanlink.Identity.load(home / "client"), chanlink.PublicKey.load(home / "server.pub")
    async with (
        chanlink.connect(address, identity=identity, peer=peer) as session,
        await session.open_stream("cat") as stream,
    ):
        with suppress(chanlink.ChannelError):
            async for data in stream:
                await stream.send(data)


def _talk(place: Place, line: str, loop: str, kind: str, patches: Path) -> None:
    more = {"PYTHONPATH": f"{patches}:{ROOT}", "CHANLINK_EVENT_LOOP": loop}
    with _ends(kind) as ends, ExitStack() as stack:
        process = place.start(
            Command(line), stdin=ends.theirs[0], stdout=ends.theirs[1], stderr=subprocess.PIPE, more=more
        )
        stack.enter_context(process)
        stack.callback(process.kill)
        assert process.stderr is not None
        if "--listen" in line:
            said = [process.stderr.readline(), process.stderr.readline()]
            portal = stack.enter_context(start_blocking_portal())
            portal.start_task_soon(_echo_to, said[1].split()[-1].decode(), place.home)
        for word in (b"one\n", b"two\n"):  # whoever has answered twice has waited at least once
            os.write(ends.to, word)
            got = b""
            while len(got) < len(word):
                got += _read(ends.of)
            assert got == word
        assert [os.get_blocking(descriptor) for descriptor in ends.theirs] == [True, True], (line, loop)
        process.kill()
        process.wait(PATIENCE)
        assert [os.get_blocking(descriptor) for descriptor in ends.theirs] == [True, True], (line, loop)


@pytest.mark.parametrize("kind", LISTENS)
def test_streams_that_are_shared_stay_as_they_are(kind: str, place: Place, tmp_path: Path) -> None:
    """Also when the program is killed, so while it runs; for a terminal and a pipe that can't be opened once more."""
    (tmp_path / "sitecustomize.py").write_text(NOT_AGAIN)
    with ThreadPoolExecutor(4) as pool:
        cases = [*CASES, ("chanlink cat {served} --listen tcp://127.0.0.1:0", LISTENS[kind])]
        talks = [pool.submit(_talk, place, line, loop, kind, tmp_path) for line, loop in cases]
        for talk in talks:
            talk.result()
    with place.start(Command("rexec share --stop")) as stop:
        assert stop.wait(PATIENCE) == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_terminal_that_top_watches_stays_as_it_is(loop: str, place: Place) -> None:
    top = Command("chanlink top {ours} {chanlink}")
    with _ends("terminal") as ends:
        inside = ends.theirs[0]
        with place.start(
            top, stdin=inside, stdout=inside, stderr=inside, more={"CHANLINK_EVENT_LOOP": loop}
        ) as process:
            seen = b""
            while b"1 session" not in seen:
                seen += _read(ends.of)
            while seen.count(b"q: quit") < 2:  # whoever draws again has waited for a key before
                seen += _read(ends.of)
            assert os.get_blocking(inside)
            os.write(ends.to, b"q")
            assert process.wait(PATIENCE) == 0
            assert os.get_blocking(inside)


@pytest.mark.parametrize("share", ["", "--share"])
def test_a_loop_that_reads_lines_keeps_them(share: str, place: Place) -> None:
    run = place.argv(Command(f"rexec run {share} -n {{ours}} {{rexec}} -- sh -c 'cat; echo got $0'"))
    loop = f'while read -r word; do {shlex.join(run)} "$word"; done'
    done = subprocess.run(
        ["sh", "-c", loop],
        input=b"one\ntwo\n",
        capture_output=True,
        cwd=place.home,
        env=place.environment(),
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == (b"got one\ngot two\n", b"")
    with place.start(Command("rexec share --stop")) as stop:
        assert stop.wait(PATIENCE) == 0
