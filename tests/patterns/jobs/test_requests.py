"""What clients and workers say, checked."""

import math
from collections.abc import Callable
from typing import Any

import pytest

import chanlink
from chanlink import ChannelFailed, ChannelRefused
from chanlink.patterns.jobs import requests
from chanlink.patterns.jobs.requests import Refusal, read_request

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (lambda found: requests.id_of({"id": found}), [None, 1, "", "x" * 201, b"x", "\ud800"]),
        (lambda found: requests.number_of({"n": found}, "n", 5), [None, 0, 6, True, "1", 1.0]),
        (lambda found: requests.payload_of({"p": found}, "p"), [None, "x", 1, []]),
        (lambda found: requests.attached_of({"attached": found}), [None, 1, "x"]),
        (lambda found: requests.after_of({"after": found}), [None, 1]),
        (lambda found: requests.says_of({"says": found}), [None, 1]),
        (lambda found: requests.key_of({"done": found}, "done"), [None, "x", True, 1.0]),
        (lambda found: requests.reason_of({"code": found}), [None, 1, "", "x" * 65, "\n", "é"]),
        (lambda found: requests.reason_of({"code": "x", "text": found}), [None, 1]),
        (lambda found: requests.seconds_of({"s": found}, "s"), [None, "1", True, -1, math.nan, math.inf]),
    ],
)
def test_what_is_wrong_is_a_bad_request(entry: Callable[[Any], Any], wrong: list[Any]) -> None:
    for found in wrong:
        with pytest.raises(Refusal) as caught:
            entry(found)
        assert caught.value.code == "bad-request"


def test_what_may_be_left_out() -> None:
    assert requests.attached_of({}) is False
    assert requests.after_of({}) == ""
    assert requests.reason_of({"code": "busy"}) == ("busy", "")


def test_long_texts_are_cut() -> None:
    assert requests.reason_of({"code": "x", "text": "y" * 2_000}) == ("x", "y" * 1_024)


def test_half_characters_are_no_text() -> None:
    assert requests.reason_of({"code": "x", "text": "\udc80 é"}) == ("x", "? é")
    assert requests.after_of({"after": "\udc80"}) == "?"


async def test_ends_in_what_is_no_request_are_refused() -> None:
    for message in ([], {"answer": 1}, "x", None):
        sender, receiver = chanlink.pipe()
        assert read_request([message, sender]) is None
        with pytest.raises(ChannelFailed, match="not-taken"):
            await receiver.receive()


async def test_what_can_be_answered_is() -> None:
    answer, receiver = chanlink.pipe()
    other, others = chanlink.pipe()
    assert read_request({"ask": ["submit"], "answer": answer, "x": others}) is None
    with pytest.raises(ChannelFailed, match="bad-request"):
        await receiver.receive()
    with pytest.raises(ChannelRefused, match="not-taken"):
        await other.send(1)
    other.close()
