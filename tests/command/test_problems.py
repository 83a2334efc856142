"""Errors in one line that says what to do."""

import argparse
from pathlib import Path

import pytest

import chanlink
from chanlink.command.problems import Problem, Usage, explain, first_of
from examples.rexec.cli.broken import explain_client
from examples.rexec.cli.connecting import Destination, Disconnected


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (chanlink.SessionClosed(), "the server closed the connection before we were done"),
        (chanlink.SessionClosed("revoked"), "the connection was lost: the session was closed: revoked"),
        (chanlink.ConnectionLost("it broke"), "the connection was lost: it broke"),
    ],
)
def test_a_server_that_was_stopped_is_no_broken_connection(cause: chanlink.SessionError, says: str) -> None:
    lost = chanlink.SessionLost(cause)
    assert says in (explain(lost, argparse.Namespace(address="tcp://build")) or "")
    disconnected = Disconnected(Destination("build", "tcp://build", None, None))
    disconnected.__cause__ = lost
    assert says in (explain_client(disconnected, argparse.Namespace()) or "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            chanlink.ConnectFailed("chanlink://web: no server has that name now"),
            "chanlink://web: no server has that name now",
        ),
        (
            chanlink.ConnectFailed("tcp://build: refused"),
            "web: tcp://build: refused; check the address, and that rexec serve runs there",
        ),
        (
            chanlink.WrongPeer("SHA256:a", "SHA256:b"),
            f"web: {chanlink.WrongPeer('SHA256:a', 'SHA256:b')}; if the server has a new key, replace the old one "
            "with: chanlink peers remove chanlink://web, and then add the new one",
        ),
    ],
)
def test_rexec_advises_what_helps_for_a_name(error: Exception, line: str) -> None:
    disconnected = Disconnected(Destination("web", "chanlink://web", None, None))
    disconnected.__cause__ = error
    assert explain_client(disconnected, argparse.Namespace()) == line


def test_a_directory_of_another_key_has_it_from_where_its_address_is() -> None:
    options = argparse.Namespace(address="tcp://dir", peer=None, says_key="$CHANLINK_DIRECTORY")
    said = explain(chanlink.WrongPeer("SHA256:a", "SHA256:b"), options) or ""
    assert said.endswith("; check the address and the key in $CHANLINK_DIRECTORY")


OPTIONS = argparse.Namespace(command="ping", address="tcp://build", service="greet", trust=None, psk=None, peer=None)
MISSING = FileNotFoundError(2, "No such file or directory", "/home/me/key")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Usage("give an ADDRESS"), "give an ADDRESS; see chanlink ping --help"),
        (Problem("it is broken"), "it is broken"),
        (caused(chanlink.KeyFormatError("key: missing"), MISSING), "make a key with: chanlink keygen FILE"),
        (chanlink.KeyFormatError("key: it is cut short"), "key: it is cut short"),
        (caused(chanlink.KeyFormatError("key: exists"), FileExistsError()), "a key is never overwritten"),
        (chanlink.ConnectFailed("tcp://build: refused"), "tcp://build: refused; check the address"),
        (chanlink.ConnectFailed("can't listen at tcp://build: in use", code="listen"), "can't listen"),
        (chanlink.WrongPeer("SHA256:a", "SHA256:b"), "chanlink peers remove tcp://build"),
        (chanlink.HandshakeTimeout("tcp://build: no answer within 1 s"), "does a chanlink server listen there"),
        (chanlink.SessionClosed("busy", "too many"), "tcp://build: the server is busy: too many"),
        (chanlink.ChannelRefused("no-such-service"), "the server has no service 'greet'"),
        (chanlink.ChannelFailed("wrong-kind"), "the service 'greet' is of another kind"),
        (chanlink.ChannelFailed("broken", "it broke"), "tcp://build: the other side gave up"),
        (chanlink.JobRefused("no-such-service"), "tcp://build: the server has no service 'greet'"),
        (chanlink.JobRefused("not-allowed", "x"), "the service 'greet' does not take that; another one"),
        (chanlink.JobRefused("draining"), "tcp://build: the queue stops just now"),
        (chanlink.JobRefused("store-failed"), "tcp://build: the store of the queue fails: its log says why"),
        (chanlink.JobRefused("queue-full"), "tcp://build: the queue did not do it: queue-full"),
        (
            caused(chanlink.JobRefused("no-session"), chanlink.ConnectionLost("it broke")),
            "connection was lost: it broke",
        ),
        (chanlink.JobLost(chanlink.SessionLost(chanlink.PeerTimeout("silent"))), "the connection was lost: silent"),
        (chanlink.JobLost(chanlink.ChannelFailed("broken")), "tcp://build: the other side gave up"),
        (chanlink.JobLost(chanlink.MessageTypeError("no status")), "no status; it may be of another version"),
        (chanlink.StoreError("jobs.db: the disk is full"), "jobs.db: the disk is full"),
        (OSError(28, "No space left on device"), "can't write to standard output: No space left on device"),
        (OSError(13, "Permission denied", "file"), "file: Permission denied"),
        (OSError(32, "Broken pipe"), "can't read or write: Broken pipe"),
    ],
)
def test_an_error_is_one_line_with_what_to_do(error: Exception, says: str) -> None:
    said = explain(error, OPTIONS)
    assert said is not None
    assert says in said
    assert "\n" not in said


def test_a_defect_of_ours_is_not_explained_away() -> None:
    assert explain(LookupError("a"), OPTIONS) is None


def test_a_missing_file_of_a_pre_shared_key_is_told_from_a_missing_key() -> None:
    """Also where it is written otherwise than its file is called."""
    options = argparse.Namespace(**{**vars(OPTIONS), "psk": "/home//me/key"})
    said = explain(caused(chanlink.KeyFormatError("/home/me/key: missing"), MISSING), options)
    assert said is not None
    assert "chanlink keygen --psk FILE" in said


def test_a_missing_list_of_what_is_revoked_is_told_from_a_missing_trust_file() -> None:
    options = argparse.Namespace(trust="~/trusted")
    for name, advice in (("/etc/revoked", "ssh-keygen -k -f /etc/revoked"), (_home("trusted"), "chanlink peers add")):
        missing = FileNotFoundError(2, "No such file or directory", name)
        said = explain(caused(chanlink.TrustFormatError("it is missing"), missing), options)
        assert said is not None
        assert advice in said


def _home(name: str) -> str:
    return str(Path("~").expanduser() / name)


def test_an_interruption_comes_before_the_errors_that_it_led_to() -> None:
    group = BaseExceptionGroup("", [ValueError("a"), BaseExceptionGroup("", [LookupError(), KeyboardInterrupt()])])
    assert isinstance(first_of(group), KeyboardInterrupt)
    assert isinstance(first_of(ExceptionGroup("", [ValueError("a"), LookupError()])), ValueError)
