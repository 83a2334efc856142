"""What a daemon and an application say: each entry of each message is what its table says (protocol section 16)."""

import re
from pathlib import Path
from typing import Any

import msgpack
import pytest

from chanlink import RemoteProtocolError
from chanlink.handover.messages import (
    MESSAGE_MAX,
    Advertise,
    Advertised,
    Attach,
    Attached,
    Changed,
    Connect,
    Ended,
    HandedOver,
    Message,
    Over,
    Refused,
    Withdrawn,
    read_message,
)
from chanlink.security.payloads import Entry

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text().partition("\n## 16. ")[2]
SORTS: list[type[Message]] = [
    *[Connect, Advertise, Attach, Ended, Withdrawn],
    *[Refused, HandedOver, Advertised, Attached, Over, Changed],
]
VALUES: dict[type, Any] = {bool: True, list: ["one", "two"]}
ENTRIES = [(sort, name) for sort in SORTS for name in sort.TABLE]
BY_NAME = [f"{sort.WHAT} {name}" for sort, name in ENTRIES]


def good(entry: Entry) -> Any:
    if entry.type is dict:
        return {name: good(inner) for name, inner in entry.entries.items()}
    if entry.type is bytes:
        return bytes(min(32, entry.most))
    if entry.type is str:
        return "t" * max(1, entry.least)
    return min(max(entry.least, 5), entry.most) if entry.type is int else VALUES[entry.type]


def entries_of(sort: type[Message], *, optional: bool = True) -> dict[str, Any]:
    found = {name: good(entry) for name, entry in sort.TABLE.items() if optional or not entry.optional}
    if sort is Connect:
        found.pop("session", None)
    return found


def packed(sort: type[Message], entries: dict[str, Any]) -> bytes:
    data: bytes = msgpack.packb({"what": sort.WHAT, **entries})
    return data


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("optional", [True, False])
def test_a_message_that_was_packed_is_read_as_it_was(sort: type[Message], optional: bool) -> None:
    message = sort(**entries_of(sort, optional=optional))
    assert read_message(message.packed(), SORTS) == message
    assert len(message.packed()) < MESSAGE_MAX


@pytest.mark.parametrize("sort", SORTS)
def test_only_what_may_come_now_is_read(sort: type[Message]) -> None:
    others = [other for other in SORTS if other is not sort]
    with pytest.raises(RemoteProtocolError, match="not for now"):
        read_message(packed(sort, entries_of(sort)), others)


@pytest.mark.parametrize(("sort", "name"), ENTRIES, ids=BY_NAME)
def test_an_entry_of_another_type_is_refused_by_name(sort: type[Message], name: str) -> None:
    others: list[Any] = [None, 1.5, [1], {1: 2}, b"bytes" if sort.TABLE[name].type is not bytes else "text"]
    for one in others:
        with pytest.raises(RemoteProtocolError, match=name if one != {1: 2} else "malformed"):
            read_message(packed(sort, {**entries_of(sort), name: one}), SORTS)


@pytest.mark.parametrize(
    ("sort", "name"),
    [(sort, name) for sort, name in ENTRIES if sort.TABLE[name].type in (bytes, str, int)],
    ids=[name for (sort, _), name in zip(ENTRIES, BY_NAME, strict=True) if sort.TABLE[_].type in (bytes, str, int)],
)
def test_an_entry_out_of_its_range_is_refused_by_name(sort: type[Message], name: str) -> None:
    entry = sort.TABLE[name]
    beyond: list[Any] = [-1] + ([entry.most + 1] if entry.most < 2**64 - 1 else [])
    if entry.type is not int:
        unit: Any = b"x" if entry.type is bytes else "x"
        beyond = [unit * (entry.most + 1)] + ([unit * (entry.least - 1)] if entry.least else [])
    for one in beyond:
        with pytest.raises(RemoteProtocolError, match=f"{name} .*not {entry.least} to"):
            read_message(packed(sort, {**entries_of(sort), name: one}), SORTS)


@pytest.mark.parametrize(
    ("sort", "name"), [(sort, name) for sort, name in ENTRIES if not sort.TABLE[name].optional], ids=str
)
def test_what_is_not_optional_must_be_there(sort: type[Message], name: str) -> None:
    entries = entries_of(sort)
    del entries[name]
    with pytest.raises(RemoteProtocolError, match=f"no {name}"):
        read_message(packed(sort, entries), SORTS)


@pytest.mark.parametrize("sort", SORTS)
def test_entries_that_nobody_knows_are_skipped(sort: type[Message]) -> None:
    entries = entries_of(sort)
    assert read_message(packed(sort, {**entries, "younger": [{}, 1]}), SORTS) == sort(**entries)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", msgpack.packb([1]), msgpack.packb({"what": 1}), b"\x81\xa1"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed message"):
        read_message(data, SORTS)


def test_a_session_is_asked_for_or_come_back_to() -> None:
    with pytest.raises(RemoteProtocolError, match="resume and session"):
        read_message(packed(Connect, {**entries_of(Connect), "session": bytes(16)}), SORTS)


@pytest.mark.parametrize("name", ["issuer", "principal", "credential"])
def test_of_what_vouches_for_a_peer_all_is_said_or_nothing(name: str) -> None:
    entries = entries_of(HandedOver)
    del entries["peer"][name]
    with pytest.raises(RemoteProtocolError, match="all are there, or none"):
        read_message(packed(HandedOver, entries), SORTS)


def test_the_keys_of_a_session_are_in_no_representation() -> None:
    message = HandedOver(**{**entries_of(HandedOver), "client_key": b"K" * 32, "exporter_secret": b"K" * 32})
    assert "KKK" not in repr(message)


# --- the page -----------------------------------------------------------------------------------


def names_in(table: str) -> set[str]:
    return {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}


@pytest.mark.parametrize("sort", [Connect, Refused, HandedOver, Advertise, Advertised])
def test_a_message_has_the_entries_of_its_table_on_the_page(sort: type[Message]) -> None:
    table = PAGE.partition(f"| entry of `{sort.WHAT}` |")[2].partition("\n\n")[0]
    assert names_in(table) == set(sort.TABLE)


@pytest.mark.parametrize("sort", [Attach, Attached, Over, Changed, Ended, Withdrawn])
def test_a_short_message_is_a_row_on_the_page(sort: type[Message]) -> None:
    rows = [line for line in PAGE.splitlines() if f"| `{sort.WHAT}` |" in line]
    assert len(rows) == 1
    entries = re.sub(r":[^;|]*", "", rows[0].partition(f"| `{sort.WHAT}` |")[2].split("|")[0])
    assert set(re.findall(r"`(\w+)`", entries)) == set(sort.TABLE)
