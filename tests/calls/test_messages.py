"""Requests and replies as they travel, without a channel."""

import datetime
import math
from typing import Any

import pytest

from chanlink import ChannelMoved, byte_pipe, pipe
from chanlink.calls.messages import Refusal, failed, only_data, read_request, refuse_ends, refused, request


def test_a_request_says_no_more_than_there_is_to_say() -> None:
    sender, receiver = pipe()
    least = request("add", {"a": 1}, sender, math.inf, {})
    assert least == {"method": "add", "arguments": {"a": 1}, "reply": sender}
    assert request("add", {}, sender, 2.5, {"a": "b"})["seconds"] == 2.5
    assert read_request(least).seconds == math.inf
    sender.close()
    receiver.close()


@pytest.mark.parametrize("seconds", [1, 0.5, math.inf, 10**18])
def test_seconds_are_any_number_over_0(seconds: float) -> None:
    assert read_request({"method": "a", "arguments": {}, "seconds": seconds}).seconds == seconds
    with pytest.raises(Refusal) as caught:
        read_request({"method": "a", "arguments": {}, "seconds": -seconds})
    assert caught.value.code == "late"


def test_texts_are_cut_to_what_may_travel() -> None:
    assert len(refused("a", "x" * 5_000)["text"]) == len(failed("a", "x" * 5_000)["text"]) == 1_024
    assert failed("a") == {"failed": "a"}
    assert failed("a", detail=0) == {"failed": "a", "detail": 0}


def test_ends_are_refused_wherever_they_are_and_twice_is_harmless() -> None:
    sender, receiver = pipe()
    stream, other = byte_pipe()
    itself: list[Any] = [{"a": (sender, [receiver])}, stream, stream]
    itself.append(itself)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    refuse_ends([itself, deep], "busy", "")
    assert sender.is_void
    assert receiver.is_void
    assert stream.is_void
    assert not other.is_void
    refuse_ends([itself], "busy", "")
    other.close()


def test_an_end_that_has_left_is_not_touched() -> None:
    sender, receiver = pipe()
    carrier, carried = pipe()
    carrier.send_nowait([receiver])
    refuse_ends([receiver], "busy", "")
    with pytest.raises(ChannelMoved):
        receiver.receive_nowait()
    sender.send_nowait(1)
    assert carried.receive_nowait()[0].receive_nowait() == 1
    sender.close()


def test_data_can_be_sent_a_second_time_and_ends_cant() -> None:
    sender, receiver = pipe()
    assert only_data({"a": [1, 2.0, "b", b"c", None, True, (datetime.datetime.now(datetime.UTC), bytearray(1))]})
    assert not only_data({"a": [{"b": (sender,)}]})
    assert not only_data([object()])
    sender.close()
    receiver.close()
