"""``rexec ps``: what is made of a server's answer."""

import json
from pathlib import Path

import pytest

from examples.rexec.cli.commands.ps import _status
from examples.rexec.messages import Listed
from tests.rexec.servers import Server, serves

server = serves()


@pytest.mark.parametrize(
    ("pid", "status", "said"),
    [(7, None, "running"), (0, None, "unknown"), (0, 0, "exit 0"), (0, 3, "exit 3"), (0, -9, "signal 9")],
)
def test_how_a_command_is(pid: int, status: int | None, said: str) -> None:
    assert _status(Listed("name", "sleep 1", pid, 1.0, status)) == said


def test_it_prints_a_table_or_a_line_of_json_for_each(server: Server, tmp_path: Path) -> None:
    assert server.call("ps").stdout == b"NAME  STATUS  SECONDS  COMMAND\n"
    assert server.call("ps", "--json").stdout == b""
    done = server.run("sh", "-c", "exit 3", options=["--detach", "--name", "mine"])
    assert done.stdout == b"mine\n"
    assert server.call("attach", "mine").returncode == 3
    head, line = server.call("ps").stdout.decode().splitlines()
    assert line.split(maxsplit=4)[:3] == ["mine", "exit", "3"]
    assert line.endswith("sh -c 'exit 3'")
    assert line.index("sh -c") == head.index("COMMAND")
    (told,) = map(json.loads, server.call("ps", "--json").stdout.splitlines())
    assert (told["name"], told["status"], told["pid"]) == ("mine", 3, 0)
