"""The text of a dump, and signals that ask for one."""

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConfigError
from chanlink.observing import dump, dump_on_signal
from tests.channels.pairs import session_pair
from tests.observing.waiting import background
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


async def test_a_dump_says_who_waits_for_whom() -> None:
    sender, receiver = chanlink.pipe(3)
    async with (
        session_pair() as (client, _),
        await client.open("work", capacity=0) as far,
        sender,
        background(receiver.receive, name="taker"),
        background(far.send, 1, name="giver"),
    ):
        text = dump()
        assert re.search(r"waits to receive from pipe \d+\n", text)
        assert "waits to send on channel 1 of the session with the other side\n" in text
        assert "1 service 'work': sender with capacity 0, sent 1, of which 1 untaken" in text
        assert re.search(r"pipe \d+: capacity 3, sent 0, taken 0, 0 messages wait; sender held by task \d+", text)
        assert len(re.findall("^session ", text, re.MULTILINE)) == 2
        assert all(line.isprintable() for line in text.splitlines())


async def test_each_signal_makes_a_dump_as_long_as_the_block_lasts() -> None:
    dumps: list[str] = []
    with anyio.fail_after(PATIENCE):
        async with dump_on_signal(signal.SIGUSR2, to=dumps.append):
            for number in (1, 2):
                os.kill(os.getpid(), signal.SIGUSR2)
                while len(dumps) < number:
                    await anyio.sleep(0.01)
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    assert all(text.startswith("0 sessions, ") for text in dumps)


async def test_a_dump_is_added_to_a_file_and_one_that_fails_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dumps").write_text("before\n")
    missing = tmp_path / "missing" / "dumps"
    with anyio.fail_after(PATIENCE), caplog.at_level(logging.ERROR, "chanlink"):
        async with dump_on_signal(to=missing):
            os.kill(os.getpid(), signal.SIGUSR1)
            while "a dump failed" not in caplog.text:
                await anyio.sleep(0.01)
        async with dump_on_signal(to=tmp_path / "dumps"):
            os.kill(os.getpid(), signal.SIGUSR1)
            while (text := (tmp_path / "dumps").read_text()) == "before\n":
                await anyio.sleep(0.01)
    assert text.startswith("before\n0 sessions, ")


PROGRAM = """
import anyio, chanlink, os, signal, sys
from chanlink.observing import dump_on_signal

async def main():
    sender, receiver = chanlink.pipe()
    async with dump_on_signal(), sender:
        os.kill(os.getpid(), signal.SIGUSR1)
        with anyio.move_on_after(0.3):
            await receiver.receive()

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.slow
def test_a_program_dumps_to_its_standard_error() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, "trio"], capture_output=True, text=True, check=True)
    assert "waits to receive from pipe 1" in ran.stderr
    assert "<string>:10 in main" in ran.stderr


def test_signals_are_for_the_main_thread() -> None:
    found: list[Any] = []

    async def main() -> None:
        with pytest.raises(ConfigError, match="not in this thread"):
            async with dump_on_signal():
                pass
        found.append(True)

    thread = Thread(target=anyio.run, args=(main,))
    thread.start()
    thread.join()
    assert found


async def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="to must be"):
        async with dump_on_signal(to=3):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match="which must be"):
        async with dump_on_signal("SIGUSR1"):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match="session must be"):
        dump("a session")  # type: ignore[arg-type]
