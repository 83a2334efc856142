"""What travels in rexec: whatever the other side makes of it, it is read rightly or is a `BadMessage`."""

import os
import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chanlink
from examples.rexec import messages
from examples.rexec.limits import MOST, NAMES
from examples.rexec.messages import BadMessage, Size, StartError

KEYS = [
    "request",
    "command",
    "args",
    "stdio",
    "stdout",
    "stderr",
    "status",
    "control",
    "directory",
    "environment",
    "user",
    "limits",
    "terminal",
    "detach",
    "name",
    "signal",
]
WORDS = ["run", "list", "attach", "kill", "TERM", "HUP", "SIGKILL", "", "x", "a b", "-x", "\0", "ls", *NAMES]


def ends() -> list[Any]:
    sender, receiver = chanlink.pipe()
    return [sender, receiver, *chanlink.byte_pipe()]


ENDS = ends()
SENDER, RECEIVER, STREAM, _ = ENDS
GOOD = {
    "request": "run", "command": "ls", "args": ["-l", b"\xff"], "stdio": STREAM, "stderr": STREAM,
    "status": SENDER, "control": RECEIVER, "directory": "/", "environment": {"A": "B"}, "user": "me",
    "limits": {"time": 5}, "terminal": [80, 24],
}  # fmt: skip
leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=5) | st.sampled_from(WORDS) | st.sampled_from(ENDS)
)  # fmt: skip
keys = st.sampled_from(KEYS) | st.sampled_from(sorted(NAMES)) | st.integers() | st.binary(max_size=3)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), st.sets(st.sampled_from(KEYS), max_size=2))
@settings(max_examples=500, deadline=None)
def test_any_change_of_a_request_is_read_or_refused(changes: dict[str, Any], missing: set[str]) -> None:
    message = {key: value for key, value in {**GOOD, **changes}.items() if key not in missing}
    try:
        request = messages.read_request(message)
    except BadMessage:
        return
    assert request.status is SENDER
    if isinstance(request, messages.Run):
        assert all(isinstance(word, bytes) and b"\0" not in word for word in request.argv)
        assert request.argv[0]
        assert set(request.limits) <= set(NAMES)
        assert all(0 < most <= MOST[NAMES[name]] for name, most in request.limits.items())
        assert (request.streams is None) == (request.detach is not None)


@given(values)
@settings(max_examples=300, deadline=None)
def test_anything_else_is_read_or_refused(value: Any) -> None:
    for read in (
        messages.read_request, messages.read_control, messages.read_status, messages.read_list,
        lambda message: messages.read_name(message, "detached"), lambda message: messages.read_name(message, "killed"),
    ):  # fmt: skip
        try:
            read(value)
        except (BadMessage, StartError):
            continue


def test_what_was_written_is_read() -> None:
    ends = {"stdio": STREAM, "stderr": STREAM, "status": SENDER, "control": RECEIVER}
    message = messages.run_message(
        ["a", b"\xff", os.fsdecode(b"\xfe")], ends, directory="ü", environment={"A": b"\xfd"}, user="me",
        limits={"memory": 5}, terminal=Size(80, 24),
    )  # fmt: skip
    run = messages.read_request(message)
    assert run == messages.Run(
        [b"a", b"\xff", b"\xfe"], SENDER, messages.Streams(STREAM, STREAM, RECEIVER), None, "ü".encode(),
        {b"A": b"\xfd"}, "me", {"memory": 5}, Size(80, 24),
    )  # fmt: skip
    detached = messages.read_request(messages.run_message(["a"], {"status": SENDER}, detach=""))
    assert isinstance(detached, messages.Run)
    assert (detached.streams, detached.detach) == (None, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signals_have_names(number: signal.Signals) -> None:
    for name in (number.name, number.name.removeprefix("SIG")):
        assert messages.read_control({"signal": name}) == number
    for wrong in ("BREAK", "", "9", 9, None, "SIG", "SIGSIGTERM", "term"):
        with pytest.raises(BadMessage):
            messages.read_control({"signal": wrong})


def test_a_status_comes_with_its_note_in_one_line() -> None:
    assert messages.read_status(messages.status_message(3)) == (3, "")
    assert messages.read_status(messages.status_message(-9, "why")) == (-9, "why")
    assert messages.read_status({"exit": 0, "note": "a\nb\x1b"}) == (0, "a\\nb\\x1b")
    assert messages.read_status({"exit": 0, "note": 5}) == (0, "")
    for wrong in ({"exit": True}, {"signal": True}, {"exit": False}):
        with pytest.raises(BadMessage):
            messages.read_status(wrong)


@pytest.mark.parametrize(
    "row",
    [
        ["n" * 100_000, "c", 1, 1.0, None],
        ["\x1b", "c", 1, 1.0, None],
        ["n", "c", -1, 1.0, None],
        ["n", "c", 2**63, 1.0, None],
        ["n", "c", 1, float("nan"), None],
        ["n", "c", 1, float("inf"), None],
        ["n", "c", 1, -1.0, None],
        ["n", "c", 1, 2**63, None],
        ["n", "c", 1, 1.0, 256],
        ["n", "c", 1, 1.0, -128],
        ["n", "c", 1, 1.0, 0.5],
    ],
)
def test_what_can_not_be_in_a_list_is_refused(row: list[Any]) -> None:
    good = ["n", "c", 2**31, 0, 255]
    assert messages.read_list({"commands": [good]}) == [messages.Listed("n", "c", 2**31, 0.0, 255)]
    with pytest.raises(BadMessage):
        messages.read_list({"commands": [good, row]})
