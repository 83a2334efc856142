"""Requests and replies as they travel (protocol section 12); and the ends in what nobody will have."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, NamedTuple

from chanlink.channels.channel import Sender
from chanlink.channels.values import End

MAX_CONTEXT_BYTES = 4_096
"""Of all keys and values of a context, in UTF-8."""
MAX_TEXT = 1_024
"""The characters of a text that we take."""
ENTRIES = {"method", "arguments", "seconds", "context"}
"""Of a request, but for its reply."""
DATA = (NoneType, bool, int, float, str, bytes, bytearray, memoryview, datetime)
"""What a message holds that is no end, and no list or map of others."""


class Refusal(Exception):
    """A call does not begin: why, for whoever asked for it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class Request(NamedTuple):
    """What a request says, its reply aside."""

    method: str
    arguments: Any
    """As they came; `Method.unpack` checks them."""
    seconds: float
    """How long the caller waits, at most; infinity if it does not say."""
    context: Mapping[str, str]


def request(
    method: str, arguments: Any, reply: Sender[Any], seconds: float, context: Mapping[str, str]
) -> dict[str, Any]:
    """The message that asks for a call."""
    message = {"method": method, "arguments": arguments, "reply": reply}
    if seconds != math.inf:
        message["seconds"] = seconds
    if context:
        message["context"] = context
    return message


def read_request(message: dict[Any, Any]) -> Request:
    """Check a request, its reply and its arguments aside. Raises `Refusal`."""
    method, seconds, context = message.get("method"), message.get("seconds", math.inf), message.get("context", {})
    if type(method) is not str:
        raise _bad_request("method", "a str is wanted")
    if "arguments" not in message:
        raise _bad_request("arguments", "there are none")
    if type(seconds) not in (int, float) or math.isnan(seconds):
        raise _bad_request("seconds", "a number is wanted")
    try:
        check_context(context)
    except (TypeError, ValueError) as exc:
        raise Refusal("bad-request", str(exc)) from None
    if seconds <= 0:
        raise Refusal("late", "the time of the caller was over before the call began")
    for unknown in message.keys() - ENTRIES:
        refuse_ends(message[unknown], "not-taken", "nobody knows this entry of the request")
    return Request(method, message["arguments"], seconds, context)


def _bad_request(entry: str, problem: str) -> Refusal:
    return Refusal("bad-request", f"{entry}: {problem}")


def check_context(context: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't travel as a context."""
    if not context and isinstance(context, dict):  # nearly always
        return
    if not isinstance(context, Mapping):
        raise TypeError("context: a dict of str is wanted")
    for key, value in context.items():
        if type(key) is not str or type(value) is not str:
            raise TypeError("context: keys and values are str")
    size = sum(len(text.encode()) for item in context.items() for text in item)
    if size > MAX_CONTEXT_BYTES:
        raise ValueError(f"context: it has {size} bytes, {MAX_CONTEXT_BYTES} are allowed")


def refused(code: str, text: str) -> dict[str, Any]:
    """The reply to a request that never begins."""
    return {"refused": code, "text": text[:MAX_TEXT]}


def failed(code: str, text: str = "", detail: Any = None) -> dict[str, Any]:
    """The reply to a call that has failed."""
    message = {"failed": code}
    if text:
        message["text"] = text[:MAX_TEXT]
    if detail is not None:
        message["detail"] = detail
    return message


def refuse_ends(value: object, code: str, text: str) -> None:
    """Refuse the ends in what nobody will have, or was sent and could not be. Those that are closed or gone stay so."""
    for leaf in _leaves(value):
        if isinstance(leaf, End):
            leaf._forsake(code, text)


def only_data(value: object) -> bool:
    """Whether a message with this could be sent a second time: ends, and files, leave with the first one."""
    return all(isinstance(leaf, DATA) for leaf in _leaves(value))


def _leaves(value: object) -> Iterator[object]:
    """Whatever is no list and no map. It may be a value that can't be sent: one that holds itself, or is very deep."""
    todo, seen = [value], set[int]()
    while todo:
        item = todo.pop()
        if not isinstance(item, dict | list | tuple):
            yield item
        elif id(item) not in seen:
            seen.add(id(item))
            todo += item.values() if isinstance(item, dict) else item
