"""``rexec kill``."""

import pytest

from examples.rexec.cli.main import main
from tests.rexec.servers import Server, assert_one_line, serves

server = serves()


def test_it_sends_a_signal_or_stops_the_command(server: Server) -> None:
    script = "trap 'echo hup; exit 3' HUP; echo ready; while :; do sleep 0.01; done"
    for name, words, status in (("signalled", ["-s", "HUP"], 3), ("stopped", [], 143)):
        assert server.run("sh", "-c", script, options=["--detach", "--name", name]).returncode == 0
        done = server.call("kill", *words, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert server.call("attach", name).returncode == status


def test_one_that_is_not_there_is_one_line(server: Server) -> None:
    assert_one_line(server.call("kill", "none"), "there is no detached command of this name")


def test_a_signal_that_is_none_is_a_mistake_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["kill", "-s", "NOSUCH", "tcp://127.0.0.1:1", "name"])
    assert caught.value.code == 255
    assert capsys.readouterr().err == "rexec: NOSUCH: there is no signal of this name; see rexec kill --help\n"
