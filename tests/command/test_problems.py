"""Errors in one line that says what to do."""

import argparse

import pytest

import chanlink
from chanlink.command.problems import Problem, Usage, explain, first_of
from examples.rexec.cli.connecting import Destination, Disconnected, explain_client


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


def test_an_interruption_comes_before_the_errors_that_it_led_to() -> None:
    group = BaseExceptionGroup("", [ValueError("a"), BaseExceptionGroup("", [LookupError(), KeyboardInterrupt()])])
    assert isinstance(first_of(group), KeyboardInterrupt)
    assert isinstance(first_of(ExceptionGroup("", [ValueError("a"), LookupError()])), ValueError)
