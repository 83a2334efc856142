"""What is said of a server that can't be reached, and what helps."""

import argparse
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import chanlink
from examples.rexec.cli.broken import explain_client
from examples.rexec.cli.connecting import Destination, Disconnected
from tests.rexec.servers import Server, assert_one_line, serving
from tests.security.keys.credentials import CA, save

LOCAL = chanlink.Local("build", service="rexec")
BY_DAEMON = Destination("build", "build", None, None, local=LOCAL)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (chanlink.ConnectFailed(f"{LOCAL}: nobody is there"), f"{LOCAL}: nobody is there"),
        (chanlink.HandshakeError(f"{LOCAL}: it is no server"), "build: it is no server"),
        (
            chanlink.WrongPeer("SHA256:a", "SHA256:b"),
            f"build: {chanlink.WrongPeer('SHA256:a', 'SHA256:b')}; the daemon has the right key from its hosts.toml, or"
            " its directory",
        ),
        (chanlink.UntrustedPeer("SHA256:b", "not known"), "build: the server has the key SHA256:b: not known"),
        (
            chanlink.UntrustedPeer("SHA256:a", "it has to add this line", remote=True),
            "build: the server does not trust our key; it has to add this line",
        ),
        (chanlink.SessionClosed("busy", "nobody serves it now"), "build: nobody serves it now"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_daemon_has_found_is_said_once(error: Exception, line: str) -> None:
    broken = Disconnected(BY_DAEMON)
    broken.__cause__ = error
    assert explain_client(broken, argparse.Namespace()) == line


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


def as_stranger(server: Server) -> "subprocess.CompletedProcess[bytes]":
    return server.run("true", identity="stranger")


def test_a_credential_that_does_not_count_is_named_where_it_would_have_been_wanted(server: Server) -> None:
    stranger = chanlink.PublicKey.load(server.directory / "stranger.pub")
    assert_one_line(as_stranger(server), "does not trust our key", "add this line", str(stranger))
    save(CA().issue(stranger, before=1_000_000_000), server.directory / "stranger")
    assert_one_line(as_stranger(server), "does not trust our key; the credential 'of a test' has ended at 2001-09-09")
    save(CA().issue(stranger, after=9_000_000_000), server.directory / "stranger")
    assert_one_line(as_stranger(server), "is not valid before 2255-03-14 16:00:00 UTC, and is not shown")
    save(CA().issue(stranger), server.directory / "stranger")  # which counts, but of an authority that nobody knows
    assert_one_line(as_stranger(server), "add this line", str(stranger))
