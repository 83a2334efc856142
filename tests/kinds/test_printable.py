"""Nothing that a peer says reaches a terminal or a log as it is."""

import io
import logging
import re
import subprocess
import traceback
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink.command import main as chanlink_main
from chanlink.printing import CHAIN_MAX, printable_logger, printable_traceback
from examples.rexec.cli.main import main as rexec_main
from examples.rexec.logs import logger as rexec_logger
from tests.rexec.servers import ROOT

from .hostile import EVIL, HOW, assert_harmless, attack, hostile_server
from .programs import COMMANDS, PATIENCE, Place, make_place, running

MAIN = {"chanlink": chanlink_main, "rexec": rexec_main}
STREAMS = ("cat", "--share")
"""They need standard streams of their own, and so a process."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return make_place(tmp_path)


@pytest.mark.parametrize("how", HOW)
def test_what_a_server_says_is_harmless_where_a_command_prints_it(
    how: str, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    identity, trust = chanlink.Identity.load(place.home / "server"), chanlink.Trust.load(place.home / "trust")
    with hostile_server(identity, trust, how) as address:
        there = place._replace(chanlink=address, rexec=address)
        shown = ""
        for command in COMMANDS:
            if not command.talks or command.serves:
                continue
            if any(word in command.line.split() for word in STREAMS):
                done = subprocess.run(
                    there.argv(command), cwd=place.home, env=there.environment(), stdin=subprocess.DEVNULL,
                    capture_output=True, timeout=PATIENCE,
                )  # fmt: skip
                said = (done.stdout + done.stderr).decode()
            else:
                with suppress(SystemExit):
                    MAIN[command.program](there.words(command))
                said = "".join(capfd.readouterr())
            assert_harmless(said, f"{command.line}, {how}")
            assert "Traceback" not in said
            shown += said
    assert ("owned" in shown) is (how not in ("answers names", "says nonsense")), shown
    rexec_main(["share", "--stop"])


def test_what_a_client_says_is_harmless_where_a_server_logs_it(place: Place) -> None:
    identity, peer = chanlink.Identity.load(place.home / "client"), chanlink.PublicKey.load(place.home / "server.pub")
    servers = [command for command in COMMANDS if command.serves and not command.talks]
    assert len(servers) == 4
    with running(place, servers) as running_ones:
        for server in running_ones:
            anyio.run(attack, server.address, identity, peer)
            assert server.process.poll() in (None, 0)  # chanlink cat serves one stream
    assert "owned" in "".join(server.said.read_text() for server in running_ones)
    for server in running_ones:
        said = server.said.read_bytes().decode()
        assert len(said.splitlines()) >= 4
        assert_harmless(said, server.command.line)


def _raise_all(text: str) -> None:
    error = ValueError(text)
    error.add_note(text)
    try:
        try:
            raise error
        except ValueError as exc:
            raise ExceptionGroup(text, [RuntimeError(text), ExceptionGroup(text, [OSError(5, text, text)])]) from exc
    except Exception:
        raise SyntaxError(text, (text, 1, 1, text, 1, 2)) from None


def test_what_a_service_fails_with_is_harmless_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever writes a service raises what a peer said, sooner or later; all loggers of the library are like that."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger = printable_logger("chanlink.kinds")
    logger.addHandler(handler)
    try:
        for raising in (_raise_all, int, {}.__getitem__):
            try:
                raising(EVIL)
            except Exception:
                logger.exception("the service %s failed for %s", EVIL, "alice")
    finally:
        logger.removeHandler(handler)
    assert_harmless(out.getvalue(), "a log")
    assert out.getvalue().count("Traceback (most recent call last):") >= 3
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [SyntaxError, ValueError, KeyError]


def test_a_traceback_is_as_long_as_pythons_and_ends() -> None:
    error: Exception | None = None
    for number in range(3):
        try:
            raise ValueError(f"number {number}") from error
        except ValueError as exc:
            error = exc
    assert error is not None
    ours, python = printable_traceback(error), "".join(traceback.format_exception(error))
    for line in python.splitlines():
        if line and "cause" not in line:
            assert line in ours
    error.__cause__.__cause__.__cause__ = error  # type: ignore[union-attr]
    assert printable_traceback(error).count("number 2") == 1
    for number in range(1000):
        before, error = error, RuntimeError(str(number))
        error.__cause__ = before
    assert printable_traceback(error).count("RuntimeError") == CHAIN_MAX


def test_every_logger_is_printable() -> None:
    """A module that makes a logger of its own would be one that nobody has thought of."""
    made = {}
    for path in [*(ROOT / "chanlink").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]:
        for line in re.findall(r"^.*getLogger.*$", path.read_text(), re.MULTILINE):
            made.setdefault(path.name, []).append(line.strip())
    assert set(made) == {"printing.py", "logs.py", "sessions.py"}, made
    for logger in (
        *map(
            logging.getLogger,
            (
                "chanlink.session.session",
                "chanlink.session.services",
                "chanlink.session.listening",
                "chanlink.session.greeter",
            ),
        ),
        rexec_logger,
    ):
        assert [one for one in logger.filters if isinstance(one, chanlink.PrintableLog)], logger
