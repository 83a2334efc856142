"""``rexec serve``: what it refuses before it serves."""

import signal
from pathlib import Path

import pytest

from examples.rexec.cli.main import main
from tests.rexec.servers import Server, until


def refused(*words: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *map(str, words)])
    assert caught.value.code == 255
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_the_root_of_copies_has_to_be_there(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    if kind == "a file":
        root.touch()
    assert f"--copy-root {root} is no folder" in refused("--copy-root", root, capsys=capsys)


def test_seconds_are_a_number_within_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    assert "from 0 to 3600" in refused("--grace", "4000", capsys=capsys)
    assert "from 0 to 2592000" in refused("--stopped", "nan", capsys=capsys)


def test_what_is_revoked_is_said_by_no_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--copy-root", tmp_path, "--trust", "/dev/null", "--revoked", tmp_path / "revoked"
    assert f"--revoked {tmp_path}/revoked is beneath --copy-root" in refused(*words, capsys=capsys)


@pytest.mark.slow
def test_whose_key_is_revoked_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "revoked").write_text("")
    server = Server(tmp_path, "--revoked", tmp_path / "revoked")
    assert server.run("echo", "on").stdout == b"on\n"
    (tmp_path / "revoked").write_text((tmp_path / "client.pub").read_text())
    until(lambda: b"does not trust our key" in server.run("true").stderr)
    assert server.stop() == 0


@pytest.mark.slow
def test_it_writes_a_dump_when_it_is_asked_by_a_signal(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.process.send_signal(signal.SIGUSR1)
    until(lambda: "0 sessions, " in server.log.read_text())
    assert server.run("echo", "on").stdout == b"on\n"
    assert server.stop() == 0
