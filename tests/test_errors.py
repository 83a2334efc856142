"""Errors: what they say, what programs may act on, and how one of them is raised twice."""

import builtins
import copy
import pickle
import re

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelFailed,
    ChannelRefused,
    ConnectFailed,
    ConnectionLost,
    EndOfChannel,
    HandshakeError,
    KeyFormatError,
    SessionClosed,
    SessionError,
    SessionLost,
    UntrustedPeer,
    WrongPeer,
    errors,
)
from chanlink.errors import END, NEVER_ACCEPTED, ChannelError, Reason, lost_beyond, not_taken, peers_doing

SESSION_ERRORS = [
    ConnectFailed("no route"),
    ConnectFailed("can't listen", code="listen"),
    HandshakeError("too late", code="clock"),
    SessionClosed("busy", "come later"),
    SessionClosed(),
    WrongPeer("SHA256:a", "SHA256:b"),
    UntrustedPeer("SHA256:a", "ask somebody", remote=True),
]


@pytest.mark.parametrize("error", SESSION_ERRORS, ids=repr)
def test_a_session_error_is_raised_again_as_a_copy_that_says_the_same(error: SessionError) -> None:
    error.__cause__ = OSError("why")
    again = error.again()
    assert again is not error
    assert again.__cause__ is error.__cause__
    for other in (again, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


def test_causes_are_told_apart_by_a_code_and_most_have_none() -> None:
    assert HandshakeError("too late", code="clock").code == "clock"
    assert KeyFormatError("locked", code="passphrase-needed").code == "passphrase-needed"
    for error in (HandshakeError("x"), ConnectFailed("x"), ConnectionLost("x"), KeyFormatError("x"), SessionClosed()):
        assert error.code == ""
        assert str(error) in ("x", "the session was closed")
    assert SessionClosed("busy").code == "busy"


def test_the_words_of_the_other_side_are_one_printable_line() -> None:
    said = "\x1b[2J\nanything"
    for error in (
        ChannelFailed("code", said),
        ChannelRefused("code", said),
        SessionClosed("code", said),
        SessionError(said),
        UntrustedPeer("SHA256:a", said),
    ):
        assert str(error).isprintable()
        assert "\\x1b[2J\\nanything" in str(error)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (END, EndOfChannel),
        (Reason("failed", "code", "text"), ChannelFailed),
        (Reason("refused", "code", "text"), ChannelRefused),
        (Reason("lost", cause=ConnectionLost("gone")), SessionLost),
    ],
    ids=["end", "failed", "refused", "lost"],
)
def test_a_reason_is_a_new_error_each_time(reason: Reason, expected: type[ChannelError]) -> None:
    errors = [reason.error(taken=3) for _ in range(2)]
    assert {type(error) for error in errors} == {expected}
    assert errors[0] is not errors[1]
    assert "gone" not in str(errors[0]) or str(errors[0]) == "the session was lost: gone (3 messages were taken)"


def test_a_lost_session_says_with_whom_and_whether_it_was_closed_in_order() -> None:
    closed = SessionLost(SessionClosed(), 2, "alice")
    assert closed.orderly
    assert (
        str(closed)
        == "the session with alice was closed in order, before this channel was over (2 messages were taken)"
    )
    for cause in (SessionClosed("busy"), ConnectionLost("gone")):
        assert not SessionLost(cause).orderly


@pytest.mark.parametrize(
    ("carrier", "why"),
    [
        (None, ("not-taken", "no message mentioned it")),
        (END, ("not-taken", "no message mentioned it")),
        (Reason("lost", text="alice", cause=ConnectionLost("gone")), ("not-taken", "alice: gone")),
        (lost_beyond("alice: gone"), ("not-taken", "alice: gone")),
        (Reason("refused", "not-taken", "of the outermost"), ("not-taken", "of the outermost")),
        (Reason("refused", "not-taken"), ("not-taken", "not-taken")),
        (Reason("failed", "stopped", "by hand"), ("not-taken", "stopped: by hand")),
        (Reason("failed", "stopped"), ("not-taken", "stopped")),
        *((Reason("refused", code, "its words"), (code, "its words")) for code in NEVER_ACCEPTED),
        (Reason("refused", "busy"), ("busy", "")),
        (Reason("failed", "revoked", "by hand"), ("revoked", "by hand")),
    ],
)
def test_an_end_that_nobody_took_says_what_became_of_its_message(carrier: Reason | None, why: tuple[str, str]) -> None:
    assert not_taken(carrier) == why


# --- the tree of errors -------------------------------------------------------------------------

BRANCH = re.compile(r"^(?P<indent>[ |`-]*)(?P<names>\w+(?: \| \w+)*)(?:\s+\(also (?P<also>[\w.]+)\))?")


def drawn() -> dict[str, tuple[str, str | None]]:
    """Name: the class above it, and the foreign one beside it."""
    found: dict[str, tuple[str, str | None]] = {}
    above: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        match = BRANCH.match(line[4:]) if line.startswith("    ") else None
        if match is None:
            continue
        column = len(match["indent"])
        while above and above[-1][0] >= column:
            above.pop()
        for name in match["names"].split(" | "):
            found[name] = (above[-1][1] if above else "Exception", match["also"])
        above.append((column, name))
    return found


def test_the_tree_that_errors_draws_is_true() -> None:
    tree = drawn()
    assert len(tree) > 25
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.ChanlinkError)
    }
    assert set(tree) == set(classes)
    for name, (parent, also) in tree.items():
        bases = [classes.get(parent, Exception)]
        if also is not None:
            bases.append(getattr(builtins, also, None) or getattr(anyio, also.removeprefix("anyio.")))
        assert list(classes[name].__bases__) == bases, name


def test_every_error_is_public() -> None:
    assert set(drawn()) <= set(chanlink.__all__)


class OutOfStock(chanlink.CallFailed):
    detail: int


class Renamed(OutOfStock):
    code = "gone"


def test_a_failure_of_a_call_has_the_code_of_its_class() -> None:
    error = OutOfStock("none left", 3)
    assert (error.code, error.text, error.detail, str(error)) == (
        "out-of-stock",
        "none left",
        3,
        "the call failed: out-of-stock: none left",
    )
    assert Renamed().code == "gone"
    assert chanlink.CallFailed().code == "handler-failed"
    assert chanlink.CallFailed("", code="deadline").code == "deadline"
    for one in (error, Renamed(), chanlink.CallFailed("x", code="deadline"), chanlink.CallRefused("busy", "later")):
        for other in (copy.copy(one), pickle.loads(pickle.dumps(one))):
            assert (type(other), str(other), vars(other)) == (type(one), str(one), vars(one))


def test_the_words_of_errors_of_calls_are_one_printable_line() -> None:
    said = "\x1b[2J\nanything"
    for error in (chanlink.CallRefused("busy", said), chanlink.CallFailed(said)):
        assert "\x1b" not in str(error)
        assert "\n" not in str(error)
    assert str(chanlink.Lagged(3)) == "3 messages were missed here"
    assert str(chanlink.CallLost(SessionLost(ConnectionLost("cut")))).startswith("the call was lost: the session")


def test_a_failed_call_shows_its_code_also_where_a_log_shows_no_more_than_its_repr() -> None:
    assert repr(chanlink.CallFailed(code="deadline")) == "CallFailed('', None, code='deadline')"
    assert repr(OutOfStock("sold", 3)) == "OutOfStock('sold', 3, code='out-of-stock')"


def test_what_a_peer_can_make_a_service_raise_is_known_in_groups_too() -> None:
    refused = chanlink.ChannelRefused("closed")
    lost = SessionLost(ConnectionLost("cut"))
    assert peers_doing(refused) is refused
    assert peers_doing(ExceptionGroup("", [ExceptionGroup("", [lost]), refused])) is lost
    for other in (ValueError(), SystemExit(), chanlink.ChannelClosed(), ExceptionGroup("", [refused, ValueError()])):
        assert peers_doing(other) is None
