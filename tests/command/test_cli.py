"""The command as a whole: its help, its arguments, its exit status."""

import re
import shlex
import subprocess
import sys
import tomllib

import pytest

import chanlink
from chanlink import Identity
from chanlink.command.cli import COMMANDS
from tests.command.calls import ROOT, Call, assert_one_line

NOT_FOR_HELP = ("json", "asyncio", "termios", "h2", "nacl", "chanlink.errors")
ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


def test_every_command_has_help_with_examples_and_is_in_the_reference(call: Call) -> None:
    assert "examples:" in call("--help").out
    reference = (ROOT / "docs/reference/command.md").read_text()
    for command in COMMANDS:
        name = {"identity": "id"}.get(command.__name__.rpartition(".")[2], command.__name__.rpartition(".")[2])
        text = call(name, "--help").out
        assert "examples:" in text
        assert f"## chanlink {name}" in reference
        for option in re.findall(r"--[a-z-]+", text):
            assert option in reference, f"{name} {option}"


def test_help_imports_nothing_that_it_does_not_need() -> None:
    script = (
        "import sys, chanlink.command.cli as m; m.make_parser();"
        f"print([name for name in {NOT_FOR_HELP} if name in sys.modules]);"
        "print([name for name in sys.modules if '.actions.' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT) == b"[]\n[]\n"


def test_the_version_is_that_of_the_package_which_says_it_once(call: Call) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version", "readme"]
    source = (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text()
    assert re.findall(r'^__version__ = "(.*)"$', source, re.MULTILINE) == [chanlink.__version__]  # as hatch reads it
    assert call("--version").out == f"chanlink {chanlink.__version__}\n"


@pytest.mark.parametrize(
    "line",
    [
        "", "no-such-command", "ping", "ping tcp://a tcp://b", "ping -c -1 tcp://a", "ping -i 0.001 tcp://a",
        "ping --timeout nan tcp://a", "cat", "cat --listen tcp://a tcp://b", "cat tcp://a one --service two", "bench",
        "cat tcp://a ''", "forward", "forward tcp://a", "forward tcp://a --listen tcp://b:1",
        "forward --serve tcp://a", "forward --serve tcp://a --allow tcp://b:1 --to tcp://c:1",
        "forward --listen tcp://127.0.0.1:0 --to tcp://b tcp://a", "completion", "completion csh",
        "keygen --psk a b", "id --agent file", "peers", "peers add KEY", "peers add --trust f tcp://a KEY",
        "peers add --services a tcp://a KEY", "peers list --trust a --known b", "bench --size -1 tcp://a",
        "queue", "queue serve", "queue serve --most 0 tcp://a", "queue cancel tcp://a", "queue retry tcp://a",
        "queue retry --all tcp://a one", "queue submit tcp://a", "queue submit --id x tcp://a -", "queue work tcp://a",
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line_and_status_2(call: Call, line: str) -> None:
    assert_one_line(call(*shlex.split(line)), "--help", status=2)


def test_addresses_that_are_none_are_one_line(call: Call) -> None:
    assert_one_line(call("ping", "http://a"), "tcp://host:port")
    assert_one_line(call("forward", "--listen", "a", "--to", "b", "tcp://c"), "tcp://host:port")
    assert_one_line(call("peers", "add", "a", ALICE), "tcp://host:port")
