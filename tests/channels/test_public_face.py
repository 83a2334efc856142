"""What completion shows of an end is what the documentation says of it: all else begins with an underscore."""

import inspect
from typing import Any

import pytest

import chanlink
from chanlink import ByteStream, Receiver, Sender

OF_ALL = {
    "aclose",
    "capacity",
    "close",
    "closing",
    "extra",  # of anyio, as `extra_attributes`
    "extra_attributes",
    "is_void",
    "kind",
    "statistics",
}
FACES: dict[type, set[str]] = {
    Sender: OF_ALL
    | {"clone", "fail", "flush", "send", "send_nowait", "sending", "taken", "tell_text", "typed", "wait_closed"},
    Receiver: OF_ALL | {"receive", "receive_many", "receive_nowait", "refuse", "typed", "valid"},
    ByteStream: OF_ALL | {"fail", "receive", "refuse", "send", "send_eof", "size", "wait_closed"},
}
ENDS = [pytest.param(*case, id=case[0].__name__) for case in FACES.items()]


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize(("kind", "face"), ENDS)
def test_a_class_of_ends_shows_what_is_documented(kind: type, face: set[str]) -> None:
    assert public(dir(kind)) == face


@pytest.mark.parametrize(("kind", "face"), ENDS)
def test_an_end_shows_no_more_than_its_class(kind: type, face: set[str]) -> None:
    ends: list[Any] = [*chanlink.pipe(), *chanlink.byte_pipe()]
    shown = [public(dir(end)) for end in ends if type(end) is kind]
    for end in ends:
        end.close()
    assert shown
    assert all(one == face for one in shown)


@pytest.mark.parametrize(("kind", "face"), ENDS)
def test_each_method_says_what_it_does(kind: type, face: set[str]) -> None:
    methods = {name: inspect.getattr_static(kind, name) for name in face - {"kind", "tell_text"}}
    assert not [name for name, method in methods.items() if not method.__doc__]
