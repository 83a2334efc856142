"""Errors: what they say, what programs may act on, and how one of them is raised twice."""

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
from chanlink.errors import END, ChannelError, Reason, lost_beyond, not_taken

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
    ("carrier", "words"),
    [
        (None, "no message mentioned it"),
        (END, "no message mentioned it"),
        (Reason("lost", text="alice", cause=ConnectionLost("gone")), "alice: gone"),
        (lost_beyond("alice: gone"), "alice: gone"),
        (Reason("refused", "not-taken", "of the outermost"), "of the outermost"),
        (Reason("failed", "stopped", "by hand"), "stopped: by hand"),
        (Reason("failed", "stopped"), "stopped"),
    ],
)
def test_an_end_that_nobody_took_says_what_became_of_its_message(carrier: Reason | None, words: str) -> None:
    assert not_taken(carrier) == words


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
            bases.append({"ValueError": ValueError}.get(also) or getattr(anyio, also.removeprefix("anyio.")))
        assert list(classes[name].__bases__) == bases, name


def test_every_error_is_public() -> None:
    assert set(drawn()) <= set(chanlink.__all__)
