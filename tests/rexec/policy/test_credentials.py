"""What the credential of a caller forbids: commands are real, the server is here, and the credential is as if shown."""

import json
import logging
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, attach, detach, kill, listing, run
from examples.rexec.policy.policy import Policy, Rule, narrowed
from examples.rexec.server.audit import Audit
from tests.rexec.sessions import sessions
from tests.vouched import issued, vouched

pytestmark = pytest.mark.anyio

SHELL = pwd.getpwuid(os.geteuid()).pw_shell
SIZE = messages.Size(80, 24)
PTY = ("permit-pty",)


def forced(command: str, **options: Any) -> Any:
    return issued("force-command", command=command, **options)


def ruled(**entries: Any) -> Policy:
    return Policy([Rule("test", ("*",), **entries)])


async def refused(session: chanlink.Session, *words: str, argv: tuple[str, ...] = ("true",), **settings: Any) -> None:
    with pytest.raises(StartError) as caught:
        await run(session, list(argv), **settings)
    assert caught.value.code == messages.REFUSED
    for word in words:
        assert word in caught.value.text


async def test_what_a_credential_forces_is_run_by_the_shell_in_place_of_what_was_asked_for() -> None:
    async with sessions(issued=forced('echo "$SSH_ORIGINAL_COMMAND"; echo "$0" >&2; exit 7')) as session:
        done = await run(session, ["rm", "-rf", "/ home"])
    assert (done.status, done.stdout, done.stderr) == (7, b"rm -rf '/ home'\n", f"{SHELL}\n".encode())


async def test_nothing_that_the_caller_chooses_changes_what_is_run() -> None:
    async with sessions(issued=forced("echo $SSH_ORIGINAL_COMMAND $LANG")) as session:
        for name in ("PATH", "ENV", "BASH_ENV", "LD_PRELOAD", "SSH_ORIGINAL_COMMAND"):
            await refused(session, "with the caller's credential", f"to set {name}", environment={name: "/tmp/x"})
        await refused(session, "the folder /tmp", directory="/tmp")
        await refused(session, "the user root", user="root")
        done = await run(session, ["x"], environment={"LANG": "C"})
        assert done.stdout == b"x C\n"


async def test_under_a_forced_command_there_is_nothing_but_that() -> None:
    async with sessions(issued=forced("true")) as session:
        with pytest.raises(StartError, match="detached"):
            await detach(session, ["true"])
        for other in (listing(session), attach(session, "true-1"), kill(session, "true-1")):
            with pytest.raises(StartError, match="nothing else") as caught:
                await other
            assert caught.value.code == messages.REFUSED


@pytest.mark.parametrize("command", [None, "test -t 1"])
@pytest.mark.parametrize("permitted", [False, True])
@pytest.mark.parametrize(("pty", "allows"), [(None, True), (True, True), (False, False)])
async def test_a_terminal_needs_its_permission_and_the_rule(
    command: str | None, permitted: bool, pty: bool | None, allows: bool
) -> None:
    options = ["force-command"] if command else []
    by = issued(*options, command=command or "", extensions=PTY if permitted else ())
    async with sessions(issued=by, policy=ruled(pty=pty)) as session:
        if permitted and allows:
            assert (await run(session, ["test", "-t", "1"], terminal=SIZE)).status == 0
        else:
            await refused(session, "allows no terminal", terminal=SIZE)
        assert (await run(session, ["test", "-t", "1"])).status == 1


async def test_a_rule_has_to_allow_what_a_credential_forces() -> None:
    async with sessions(issued=forced("echo yes"), policy=ruled(commands=(("true",),))) as session:
        await refused(session, "the rule test", f"{SHELL} -c 'echo yes'")
    async with sessions(issued=forced("echo yes"), policy=ruled(commands=((SHELL, "-c", "echo *"),))) as session:
        assert (await run(session, ["true"])).stdout == b"yes\n"


async def test_two_forced_commands_are_none() -> None:
    async with sessions(issued=forced("echo yes"), policy=ruled(command=("echo", "yes"))) as session:
        await refused(session, "the rule test", "forces one command, and the caller's credential another")


async def test_an_audit_and_the_log_say_who_vouches_and_what_is_forced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with sessions(issued=forced("exit 3"), audit=Audit(str(tmp_path / "audit"))) as session:
        await run(session, ["ls"])
    start, end = map(json.loads, (tmp_path / "audit").read_text().splitlines())
    for entry in (start, end):
        about = [entry[name] for name in ("name", "issuer", "principal", "serial", "key_id")]
        assert about == ["alice@example", "example", "alice", 7, "alice's laptop"]
    assert (start["command"], start["forced"], end["status"]) == (["ls"], "exit 3", 3)
    line = next(line for line in caplog.messages if "#1 starts" in line)
    assert ', credential "alice\'s laptop", serial 7: #1 starts: ls; in its place: exit 3' in line


def test_a_credential_never_widens_a_rule() -> None:
    narrow = Rule("narrow", ("*",), commands=(("true",),), pty=False, copy=False, detach=False, at_once=1)
    for peer in (vouched(), vouched("force-command"), chanlink.Peer(None, "alice", "here")):
        found = narrowed(narrow, peer)
        assert found.restricted
        assert not found.allows_terminals
        assert not found.allows_copying
        assert not found.detach
    assert not narrowed(Rule("any", ("*",), copy=True), vouched("force-command")).allows_copying
    assert narrowed(Rule("any", ("*",)), vouched()).allows_copying
