"""Mistakes, and the one line that each gets: what is wrong, and what to do."""

import pwd
import subprocess
from pathlib import Path

import pytest

import chanlink
from chanlink.command import main as chanlink_main
from examples.rexec.cli.main import main as rexec_main
from examples.rexec.cli.share.client import run_shared
from tests.security.keys.programs import AgentProcess, needs_ssh_agent

from .programs import PATIENCE, Command, Place

MAIN = {"chanlink": chanlink_main, "rexec": rexec_main}

WHO = "--identity {home}/client --peer {home}/server.pub"
PUBLIC = "that is a public key; the private one is needed here, which is {home}/client"
HINTS = [
    # the command line, what has to be in its line, and what must not
    ("chanlink ping --identity {home}/client.pub {chanlink}", PUBLIC, "chmod"),
    ("rexec ps --identity {home}/client.pub {rexec}", PUBLIC, "chmod"),
    ("rexec key --identity {home}/client.pub", "that is a public key", "chmod"),
    ("rexec serve --identity {home}/client.pub", "that is a public key", "chmod"),
    (
        "chanlink ping --identity {home}/client --peer {home}/stranger.pub {chanlink}",
        "give the right key with --peer",
        "known_peers",
    ),
    (
        "rexec ps --identity {home}/client --peer {home}/stranger.pub {rexec}",
        "not in {home}/stranger.pub; see --peer",
        "known_peers",
    ),
    ("chanlink ping --cuont 1 {chanlink}", "unrecognized arguments: --cuont;", "tcp://"),
    ("rexec ps --nonsense 1 {rexec}", "unrecognized arguments: --nonsense;", "tcp://"),
    (
        "rexec run build echo hi",
        "write -- before the command: rexec run [OPTION]... ADDRESS -- echo hi",
        "unrecognized",
    ),
    ("rexec run build", "no command is given; write it after --", ""),
    ("rexec run -t -n build -- true", "-t and -n exclude each other", ""),
    (f"rexec run {WHO} tcp://127.0.0.1:1 -- true", "tcp://127.0.0.1:1: Connection refused;", ": tcp://"),
    (f"rexec ps {WHO} tcp://127.0.0.1:1", "tcp://127.0.0.1:1: Connection refused;", ": tcp://"),
    (f"chanlink ping {WHO} tcp://127.0.0.1:1", "tcp://127.0.0.1:1: Connection refused;", ": tcp://"),
    ("rexec ps build", "'build' is no address, and no name in", ""),
    ("chanlink id {home}/nowhere", "nowhere: No such file or directory", ""),
]


def _said(place: Place, line: str, **more: str) -> tuple[int, str]:
    with place.start(Command(line), stdout=subprocess.PIPE, stderr=subprocess.PIPE, more=more) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert out == b"", line
    return process.returncode, err.decode()


def _assert_one_line(place: Place, line: str, said: tuple[int, str], has: str, lacks: str) -> None:
    status, text = said
    assert status in ((1, 2) if line.startswith("chanlink") else (255,)), (line, text)
    assert text.count("\n") == 1, (line, text)
    assert text.startswith(line.split()[0] + ": "), (line, text)
    assert has.format(home=place.home) in text, (line, text)
    assert not lacks or lacks not in text.partition(": ")[2], (line, text)


@pytest.mark.parametrize(("line", "has", "lacks"), HINTS)
def test_a_mistake_is_one_line_that_helps(line: str, has: str, lacks: str, place: Place) -> None:
    _assert_one_line(place, line, _said(place, line), has, lacks)


@pytest.mark.parametrize("loop", ["trio", "uvloop"])
def test_an_event_loop_that_is_not_installed_is_one_line(loop: str, place: Place, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules['{loop}'] = None")
    line = "chanlink ping {ours} {chanlink}"
    said = _said(place, line, CHANLINK_EVENT_LOOP=loop, PYTHONPATH=f"{tmp_path}:{place.environment()['PYTHONPATH']}")
    _assert_one_line(
        place, line, said, f"CHANLINK_EVENT_LOOP={loop} needs what is not installed: pip install 'chanlink[{loop}]'", ""
    )


@needs_ssh_agent
def test_an_agent_with_two_keys_is_one_line(place: Place, ssh_agent: AgentProcess) -> None:
    for name in ("client", "stranger"):
        ssh_agent.add(chanlink.Identity.load(place.home / name))
    line = "chanlink ping --agent --peer {home}/server.pub {chanlink}"
    said = _said(place, line, SSH_AUTH_SOCK=str(ssh_agent.socket))
    _assert_one_line(place, line, said, "holds 2 Ed25519 keys; say which one with --identity FILE.pub", "public_key=")


# --- without a home -----------------------------------------------------------------------------

HOMELESS = [
    "chanlink keygen", "chanlink id", "chanlink peers list", "chanlink peers add {chanlink} {home}/server.pub",
    "chanlink peers remove tcp://x", "chanlink peers revoke tcp://x", "chanlink ping {chanlink}",
    "chanlink cat {chanlink}", "chanlink cat --listen tcp://127.0.0.1:0", "chanlink bench {chanlink}",
    "chanlink bench --listen tcp://127.0.0.1:0", "chanlink top {chanlink}",
    "chanlink forward --listen tcp://127.0.0.1:0 --to tcp://127.0.0.1:1 {chanlink}",
    "chanlink forward --serve tcp://127.0.0.1:0 --allow tcp://127.0.0.1:1", "chanlink ping unix:~/x",
    "chanlink ping --identity {home}/client {chanlink}", "chanlink ping --identity ~/x {chanlink}",
    "chanlink keygen ~/x", "chanlink keygen --psk ~/x", "chanlink id ~/x", "chanlink ping --psk ~/x {chanlink}",
    "chanlink id --agent", "chanlink peers list --trust ~/x", "chanlink peers revoke --trust {home}/trust ~/x.pub",
    "chanlink ping {ours} unix:~/x", "chanlink cat {served} --listen unix:~/x",
    "rexec key", "rexec key --identity ~/x", "rexec run {rexec} -- true", "rexec run --share {rexec} -- true",
    "rexec run name -- true", "rexec run --identity {home}/client --accept-new {rexec} -- true",
    "rexec ps name", "rexec ps {rexec}", "rexec ps --identity {home}/client --peer ~/x {rexec}",
    "rexec attach {rexec} x", "rexec kill {rexec} x", "rexec share", "rexec serve --listen tcp://127.0.0.1:0",
    "rexec serve --identity {home}/server --trust ~/x", "rexec serve --identity {home}/server --policy ~/x",
    "rexec serve --identity {home}/server --trust {home}/trust --audit ~/x --listen tcp://127.0.0.1:0",
    "rexec serve --identity {home}/server --trust {home}/trust --copy-root ~/x --listen tcp://127.0.0.1:0",
    "rexec cp {home}/client.pub {rexec}:/tmp/x", "rexec cp {ours} {rexec}:{home}/client.pub ~/x",
]  # fmt: skip
"""Each wants something of a home folder: the default key, the known servers, or a path with a ``~``."""


@pytest.mark.parametrize("line", HOMELESS)
def test_without_a_home_folder_it_is_one_line_and_no_folder_is_called_tilde(
    line: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither HOME nor an entry in the table of users: as in a container that runs with the number of a user alone."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "CHANLINK_IDENTITY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSH_AUTH_SOCK", "~/agent")
    words = place.words(Command(line))
    run = run_shared if "--share" in words else MAIN[line.split()[0]]
    status = run(words)
    out, err = capfd.readouterr()
    assert (status, out) == ({"chanlink": 1, "rexec": 255}[line.split()[0]], ""), (line, err)
    assert err.count("\n") == 1, (line, err)
    assert "home folder" in err, (line, err)
    assert list(tmp_path.iterdir()) == []
