"""Signals: ignored from the beginning, in the first moments, and to the first process of a container."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.rexec.servers import ROOT

from .programs import LASTING, PATIENCE, Command, Place, Running, running

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")

IGNORING = ("sh", "-c", 'trap "" HUP INT; exec "$@"', "sh")
"""As nohup does, and a script with &."""


def _ignored(pid: int) -> set[int]:
    mask = int(re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)  # type: ignore[index]
    return {number for number in (signal.SIGHUP, signal.SIGINT) if mask & 1 << (number - 1)}


def _ends_in_order(one: Running) -> bool:
    """A server that serves many stops, and so does a worker; what is for one command or stream dies."""
    return bool(re.search("forward|bench|graph|queue|directory serve|daemon run|rexec serve", one.command.line))


@needs_proc
def test_what_was_ignored_at_the_start_stays_ignored(place: Place) -> None:
    with running(place, LASTING, before=IGNORING) as started:
        for one in started:
            assert _ignored(one.process.pid) == {signal.SIGHUP, signal.SIGINT}, one.command.line
            one.process.send_signal(signal.SIGHUP)
            one.process.send_signal(signal.SIGINT)
        for one in started:
            one.process.send_signal(signal.SIGTERM)
            wanted = {0} if _ends_in_order(one) else {-signal.SIGTERM, 128 + signal.SIGTERM}
            assert one.process.wait(PATIENCE) in wanted, one.command.line
    with place.start(Command("rexec share --stop")) as stop:
        assert stop.wait(PATIENCE) == 0


@needs_proc
def test_what_was_not_ignored_ends_everything(place: Place) -> None:
    """So that the test above would notice if nothing were heeded at all."""
    with running(place, LASTING) as started:
        for one in started:
            assert _ignored(one.process.pid) == set(), one.command.line
            one.process.send_signal(signal.SIGINT)
        for one in started:
            assert one.process.wait(PATIENCE) == (0 if _ends_in_order(one) else -signal.SIGINT), one.command.line
            assert "Traceback" not in one.said.read_text()
    with place.start(Command("rexec share --stop")) as stop:
        assert stop.wait(PATIENCE) == 0


# --- Ctrl-C in the first moments ----------------------------------------------------------------

INTERRUPT = """
import os, signal, sys
imports, first = -1, os.getpid()
def hook(event, args):
    global imports
    if event == "import":
        if args[0] in ("chanlink", "examples.rexec.cli.descriptors") and imports < 0:
            imports = 0
        if imports >= 0 and os.getpid() == first:
            imports += 1
            if imports == int(os.environ["INTERRUPT_AT"]):
                os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
"""
"""Python runs this first: Ctrl-C at the n-th import after the program's own first one. Before that, nothing is ours."""
MOMENTS = (1, 2, 4, 8, 16, 40, 80, 130, 190, 260, 350, 500)


@pytest.mark.parametrize(
    "line",
    ["chanlink id {home}/client", "chanlink ping {ours} -c 1 {chanlink}", "rexec key --identity {home}/client",
     "rexec run {ours} {rexec} -- true", "rexec run --share {ours} {rexec} -- true"],
)  # fmt: skip
def test_ctrl_c_is_quiet_at_every_moment(line: str, place: Place, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    module = "chanlink_command" if line.startswith("chanlink") else "examples.rexec"

    def interrupt(moment: int) -> tuple[int, bytes]:
        environment = place.environment(PYTHONPATH=f"{tmp_path}:{ROOT}", INTERRUPT_AT=str(moment))
        argv = [sys.executable, "-m", module, *place.words(Command(line))]
        done = subprocess.run(argv, env=environment, cwd=place.home, capture_output=True, timeout=PATIENCE)
        return done.returncode, done.stderr.replace((place.home / "client.pub").read_bytes().split()[1], b"")

    with ThreadPoolExecutor(3) as pool:
        found = dict(zip(MOMENTS, pool.map(interrupt, MOMENTS), strict=True))
    assert found[1] == (-signal.SIGINT, b"")
    for moment, (status, err) in found.items():
        if status == 0:  # it did not import so much
            assert not re.search(b"Traceback|Interrupt|ignored", err), (moment, err)
        else:
            assert (status, err) == (-signal.SIGINT, b""), (moment, err.decode())
    with suppress(FileNotFoundError), place.start(Command("rexec share --stop")) as stop:
        assert stop.wait(PATIENCE) == 0


# --- the first process of a container -----------------------------------------------------------

FIRST = ("unshare", "--pid", "--fork")


def _can_be_first() -> bool:
    try:
        done = subprocess.run([*FIRST, "sh", "-c", "echo $$"], capture_output=True, timeout=PATIENCE)
    except OSError:
        return False
    return done.stdout == b"1\n"


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_process_of_a_container_ends_by_a_signal(number: signal.Signals, place: Place) -> None:
    if not _can_be_first():
        pytest.skip("nobody here may make a process the first one (root, with unshare)")
    with running(place, LASTING, before=FIRST) as started:
        for one in started:
            os.kill(_child_of(one), number)
        for one in started:
            wanted = {0} if _ends_in_order(one) else {128 + number, -number}
            assert one.process.wait(PATIENCE) in wanted, one.command.line
            assert not re.search("Traceback|Error", one.said.read_text()), one.said.read_text()


def _child_of(one: Running) -> int:
    (child,) = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
    return int(child)
