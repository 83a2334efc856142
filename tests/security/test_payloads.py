"""The maps of hello, handshake and records: each entry of each of them is what its table says, or an error names it."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest

from chanlink import HandshakeError, Limits, RemoteProtocolError
from chanlink.limits import PEER_RANGES, PeerLimits
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.payloads import (
    ANSWER,
    CERTIFICATE,
    CLOSED,
    EARLY_ANSWER,
    EARLY_FIRST,
    FIRST,
    HELLO,
    LIMITS,
    OFFER,
    PREKEY,
    WELCOMED,
    Entry,
    Table,
    read,
)
from chanlink.security.records import CLOSE

from .handshakes import (
    good_answer,
    good_offer,
    one_backend,
    stream_pair,
    welcome,
    with_scripted_client,
    with_scripted_server,
)
from .wires import make_hello

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
TABLES = {"hello": HELLO, "first": FIRST, "offer": OFFER, "answer": ANSWER, "welcome": WELCOMED, "close": CLOSED}
TABLES |= {"prekey": PREKEY, "early first": EARLY_FIRST, "early answer": EARLY_ANSWER}
OF_A_TYPE: dict[type, object] = {bool: True, str: "text", list: ["one", "two"]}
OTHERS: list[object] = [
    *[5, 5.0, True, None, "text", b"bytes", ["list"], [], {}, {"a": 1}],
    *[msgpack.ExtType(5, b"x"), msgpack.Timestamp(5)],
]


def good(entry: Entry) -> Any:
    if entry.type is dict:
        return {name: good(inner) for name, inner in entry.entries.items()}
    if entry.type is bytes:
        return bytes(min(32, entry.most))
    return min(max(entry.least, 5), entry.most) if entry.type is int else OF_A_TYPE[entry.type]


def good_map(table: Table) -> dict[str, Any]:
    return {name: good(entry) for name, entry in table.items()}


def paths(table: Table, above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Entry]]:
    found = []
    for name, entry in table.items():
        found.append(((*above, name), entry))
        found += paths(entry.entries, (*above, name))
    return found


def changed(value: dict[str, Any], path: tuple[str, ...], new: object) -> dict[str, Any]:
    """A copy with another entry at this path; without it if the new one is `...`."""
    name, *rest = path
    copy = dict(value)
    if rest:
        copy[name] = changed(value[name], tuple(rest), new)
    elif new is ...:
        del copy[name]
    else:
        copy[name] = new
    return copy


ENTRIES = [(name, path, entry) for name, table in TABLES.items() for path, entry in paths(table)]
every_entry = pytest.mark.parametrize(
    ("name", "path", "entry"), ENTRIES, ids=[f"{name}: {'.'.join(path)}" for name, path, _ in ENTRIES]
)


@pytest.mark.parametrize("name", TABLES)
def test_a_good_map_is_read_whole_and_what_is_not_in_its_table_is_ignored(name: str) -> None:
    said = good_map(TABLES[name])
    more = {"later": [{"deep": [1.5, None]}], "more": {"x": {}}, "": msgpack.ExtType(9, b"")}
    assert read(msgpack.packb(said | more), TABLES[name]) == said


@every_entry
def test_an_entry_of_another_type_is_an_error_that_names_it(name: str, path: tuple[str, ...], entry: Entry) -> None:
    for other in OTHERS:
        if type(other) is entry.type and entry.type is not list:
            continue
        said = changed(good_map(TABLES[name]), path, [5] if entry.type is list else other)
        with pytest.raises(HandshakeError) as caught:
            read(msgpack.packb(said), TABLES[name])
        assert ".".join(path) in str(caught.value)


@every_entry
def test_an_entry_out_of_its_range_is_an_error_that_names_it(name: str, path: tuple[str, ...], entry: Entry) -> None:
    ranges: dict[type, list[object]] = {
        int: [-1, entry.least - 1, entry.most + 1],
        bytes: [bytes(entry.most + 1 if entry.most < 2**20 else 0), bytes(max(entry.least - 1, 0))],
    }
    good_ones: dict[type, list[object]] = {int: [entry.least, entry.most], bytes: [bytes(entry.least)]}
    for bad in ranges.get(entry.type, []):
        if entry.type is bytes and entry.least <= len(bad) <= entry.most:  # type: ignore[arg-type]
            continue
        if isinstance(bad, int) and not -(2**63) <= bad < 2**64:
            continue  # no msgpack
        with pytest.raises(HandshakeError, match=re.escape(".".join(path))):
            read(msgpack.packb(changed(good_map(TABLES[name]), path, bad)), TABLES[name])
    for fine in good_ones.get(entry.type, []):
        read(msgpack.packb(changed(good_map(TABLES[name]), path, fine)), TABLES[name])


@every_entry
def test_an_entry_that_is_missing_is_an_error_unless_it_is_optional(
    name: str, path: tuple[str, ...], entry: Entry
) -> None:
    said = msgpack.packb(changed(good_map(TABLES[name]), path, ...))
    if entry.optional:
        read(said, TABLES[name])
    else:
        with pytest.raises(HandshakeError, match=rf"no {re.escape('.'.join(path))}"):
            read(said, TABLES[name])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\xa4code",
        b"\x81\xa4code",
        b"\x82\xa4code\xa0\xa4code\xa0",
        b"\x82\xa4code\xa0\xc4\1x\1",
        b"\x82\xa4code\xa0\x05\1",
        b"\x82\xa4code\xa0\x90\1",
        b"\x82\xa4code\xa0\x80\1",
        b"\x82\xa4code\xa0\xa1x",
        b"\x81\xa4code\xa0\0",
        b"\x81\xa4code\xa2\xff\xff",
        b"\x82\xa4code\xa0\xa1x" + b"\x91" * 2_000 + b"\1",
        b"\xdf\xff\xff\xff\xff" + b"\xa4code\xa0",
        b"\xde\1\1" + b"".join(b"\xa3%03d\1" % n for n in range(256)) + b"\xa4code\xa0",
    ],
)
def test_what_is_no_such_map_is_an_error(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        read(data, CLOSED)


@pytest.mark.skipif(not hasattr(sys, "getunicodeinternedsize"), reason="this Python does not say it")
def test_nothing_that_is_read_is_interned() -> None:
    """Some versions of Python never free what is, and strangers send these maps."""

    def texts() -> dict[str, Any]:
        return {os.urandom(8).hex(): {os.urandom(8).hex(): [os.urandom(8).hex()]} for _ in range(50)}

    said = good_map(ANSWER)
    said |= texts() | {"certificate": said["certificate"] | texts(), "limits": said["limits"] | texts()}
    data = msgpack.packb(said)
    before = sys.getunicodeinternedsize()  # type: ignore[attr-defined]
    read(data, ANSWER)
    assert sys.getunicodeinternedsize() <= before + 5  # type: ignore[attr-defined]


# --- where they are read ----------------------------------------------------------------------------

WRONG = [1.0, "1", None, [1], {}]


@pytest.mark.anyio
@one_backend
@pytest.mark.parametrize("value", [1.0, "1", b"1", True, [1]], ids=repr)
@pytest.mark.parametrize("name", ["certificate", "suite", "limits", "peer", "features"])
async def test_a_wrong_type_in_the_handshake_fails_it_and_the_error_says_where(name: str, value: object) -> None:
    static = generate_keypair()
    if name in ANSWER:
        _, outcome = await with_scripted_client(static, await good_answer(static, **{name: value}))
        assert type(outcome) is HandshakeError
        assert name in str(outcome)
    if name in OFFER:
        _, outcome = await with_scripted_server(static, await good_offer(static, **{name: value}), welcome)
        assert type(outcome) is HandshakeError
        assert name in str(outcome)


@pytest.mark.anyio
@one_backend
@pytest.mark.parametrize("offer", [{"pattern": b"XX", "suites": ["chachapoly"]}, {"pattern": "XX", "suites": [5]}])
async def test_a_wrong_type_in_the_hello_fails_the_handshake_and_the_error_says_where(offer: object) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static), hello=make_hello(offer=offer))
    assert type(outcome) is HandshakeError
    assert re.search("pattern is no str|suites is no str", str(outcome))


@pytest.mark.anyio
@one_backend
@pytest.mark.parametrize(
    "said",
    [
        *[{"code": value, "text": ""} for value in (*WRONG[:1], *WRONG[2:], b"")],
        *[{"code": "", "text": value} for value in (*WRONG[:1], *WRONG[2:], b"")],
        {"text": "no code"},
        {},
    ],
    ids=repr,
)
async def test_a_close_record_that_is_none_is_no_ordinary_end(said: object) -> None:
    left, right, *_ = stream_pair()
    await left.send_record(CLOSE, msgpack.packb(said))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="malformed record"):
            await right.receive()
    assert right.peer_close == ("", "")


@pytest.mark.anyio
@one_backend
async def test_what_a_side_says_of_itself_is_in_the_ranges_of_the_other() -> None:
    widest = Limits(**{name: most for name, (_, most) in PEER_RANGES.items()})  # type: ignore[arg-type]
    least = Limits(**{name: least for name, (least, _) in PEER_RANGES.items()})  # type: ignore[arg-type]
    for limits in (widest, least, Limits()):
        said = {name: getattr(limits, name) for name in PeerLimits.__slots__}
        assert PeerLimits(**read(msgpack.packb(said), LIMITS)) == PeerLimits(**said)


# --- the page ---------------------------------------------------------------------------------------


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    def number(text: str) -> int:
        return 2**31 - 1 if text == "2^31-1" else int(text.replace(",", ""))

    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,^-]+) \|", PAGE.read_text(), re.M)
    said = {name: tuple(map(number, numbers)) for name, *numbers in rows}
    assert list(said) == list(PeerLimits.__slots__)
    assert said == {name: (getattr(Limits(), name), *PEER_RANGES[name]) for name in PEER_RANGES}


@pytest.mark.parametrize("table", [*TABLES.values(), CERTIFICATE], ids=[*TABLES, "certificate"])
def test_every_entry_has_its_row_on_the_page(table: Table) -> None:
    text = PAGE.read_text()
    for name in table:
        assert f"`{name}`" in text
