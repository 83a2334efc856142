"""A command that is run for another process."""

import os
import pty
import termios
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.rexec.cli.arguments import Options
from examples.rexec.cli.parsing import parse
from examples.rexec.cli.run_options import add_run
from examples.rexec.cli.share.running import run_shared
from tests.patience import PATIENCE
from tests.rexec.sessions import sessions

pytestmark = pytest.mark.anyio


def options_of(*words: str) -> Options:
    return parse(["run", "--share", *words], [add_run])


async def test_signals_go_to_the_command_by_name_and_those_that_are_none_to_nobody(tmp_path: Path) -> None:
    script = "trap 'exit 3' HUP; echo ready; while :; do sleep 0.01; done"
    signal, signals = chanlink.pipe()
    said: list[tuple[str, str]] = []
    statuses: list[int] = []

    async def say(kind: str, text: str) -> None:
        said.append((kind, text))

    with open(os.devnull) as nothing, (tmp_path / "out").open("w") as out:
        descriptors = [nothing.fileno(), out.fileno(), out.fileno()]

        async def run(session: chanlink.Session) -> None:
            options = options_of("-n", "tcp://x", "--", "sh", "-c", script)
            statuses.append(await run_shared(session, options, descriptors, signals, say))

        async with sessions() as session, signal, signals, anyio.create_task_group() as tasks:
            tasks.start_soon(run, session)
            with anyio.fail_after(PATIENCE):
                while not (tmp_path / "out").read_text():
                    await anyio.sleep(0.002)
                for name in ("SIGNOSUCH", "SIGWINCH", "SIGHUP"):
                    await signal.send(name)
    assert statuses == [3]
    assert said == []


async def test_a_tilde_and_a_dot_give_up_and_the_terminal_is_as_before() -> None:
    signal, signals = chanlink.pipe()
    ours, theirs = pty.openpty()

    async def say(kind: str, text: str) -> None:
        raise AssertionError(text)

    statuses: list[int] = []

    async def run(session: chanlink.Session) -> None:
        options = options_of("-t", "tcp://x", "--", "sh", "-c", "echo ready; sleep 1000")
        statuses.append(await run_shared(session, options, [theirs] * 3, signals, say))

    try:
        before = termios.tcgetattr(theirs)
        async with sessions(grace=0.2) as session, signal, signals, anyio.create_task_group() as tasks:
            tasks.start_soon(run, session)
            with anyio.fail_after(PATIENCE):
                await anyio.wait_readable(ours)
                assert termios.tcgetattr(theirs) != before
                os.write(ours, b"~.")
        assert statuses == [130]
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
