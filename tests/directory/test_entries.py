"""Entries: what a server says of itself, and how it is read."""

import re
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest

from chanlink import Identity, clock
from chanlink.directory import entries
from chanlink.directory.board import MOST_PENDING
from chanlink.directory.entries import Said, Signed, entry_of, parse, sign
from chanlink.directory.problems import PROBLEMS, BadEntry
from chanlink.directory.rules import OWNERS
from chanlink.directory.serving import FOLLOWERS
from chanlink.security.keys import openssh

from .made import ALICE, BOB, now_serial, signed

pytestmark = pytest.mark.anyio
FIELDS: dict[str, Any] = {
    "name": "web1",
    "serial": 5,
    "life": 600,
    "addresses": ["tcp://10.0.0.1:9323", "tcp://[2001:db8::1]"],
    "services": ["echo"],
}


async def signed_bytes(entry: bytes, who: Identity = ALICE, namespace: bytes = entries.NAMESPACE) -> Signed:
    signature = await who.sign(openssh.sshsig_signed_data(namespace, entry))
    return Signed(entry, openssh.encode_sshsig(who.public_key, namespace, signature))


async def test_what_was_signed_is_read() -> None:
    made = await sign(ALICE, "web1", FIELDS["addresses"], ["echo", "ping"], 5, 600)
    assert parse(made) == Said("web1", ALICE.public_key, 5, 600, tuple(FIELDS["addresses"]), ("echo", "ping"))


async def test_unknown_fields_are_skipped_and_signed_with_the_others() -> None:
    made = await signed_bytes(msgpack.packb(FIELDS | {"weight": 7, "later": [1, {"more": None}]}))
    assert parse(made).name == "web1"
    with pytest.raises(BadEntry, match="signature is wrong"):
        parse(Signed(made.entry.replace(b"weight\x07", b"weight\x08"), made.sshsig))


@pytest.mark.parametrize("at", [0, 1, -1, 20])
async def test_any_change_of_an_entry_or_its_signature_is_noticed(at: int) -> None:
    entry, sshsig = await signed()
    for parts in ((flipped(entry, at), sshsig), (entry, flipped(sshsig, at))):
        with pytest.raises(BadEntry):
            parse(Signed(*parts))


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


async def test_a_signature_for_something_else_is_none_of_an_entry() -> None:
    entry, _ = await signed()
    with pytest.raises(BadEntry, match="another namespace"):
        parse(await signed_bytes(entry, namespace=b"chanlink-static-v1"))
    other = await signed(BOB)
    with pytest.raises(BadEntry, match="signature is wrong"):
        parse(Signed(entry, other.sshsig))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a" * 201},
        {"name": "web 1"},
        {"name": "../web1"},
        {"name": "-web1"},
        {"name": "wéb1"},
        {"name": "web1\n"},
        {"name": 7},
        {"name": b"web1"},
        {"serial": 0},
        {"serial": 2**63},
        {"serial": 5.0},
        {"serial": True},
        {"life": 0},
        {"life": 3_601},
        {"life": -1},
        {"addresses": "tcp://10.0.0.1"},
        {"addresses": ["tcp://10.0.0.1"] * 17},
        {"addresses": ["unix:/run/secret"]},
        {"addresses": ["unix:///run/secret"]},
        {"addresses": ["exec:rm -rf ~"]},
        {"addresses": ["exec://rm"]},
        {"addresses": ["10.0.0.1:9323"]},
        {"addresses": ["TCP://10.0.0.1"]},
        {"addresses": ["tcp://"]},
        {"addresses": ["tcp://10.0.0.1:70000"]},
        {"addresses": ["tls://" + "a" * 300]},
        {"addresses": ["tls://h\x1b[31m"]},
        {"addresses": ["tls://hôte"]},
        {"addresses": [7]},
        {"addresses": [["tcp://10.0.0.1"]]},
        {"services": ["a"] * 257},
        {"services": [""]},
        {"services": ["a" * 129]},
        {"services": ["e\x07"]},
        {"services": {"echo": 1}},
        {"services": ["x" * 128] * 40},
    ],
    ids=repr,
)
async def test_what_is_not_as_the_table_says_is_refused(wrong: dict[str, Any]) -> None:
    parse(await signed_bytes(msgpack.packb(FIELDS)))
    with pytest.raises(BadEntry):
        parse(await signed_bytes(msgpack.packb(FIELDS | wrong)))


@pytest.mark.parametrize("missing", FIELDS)
async def test_all_fields_have_to_be_there(missing: str) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    with pytest.raises(BadEntry, match=f"there is no {missing}"):
        parse(await signed_bytes(msgpack.packb(fields)))


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xc0",
        b"\x80",
        msgpack.packb([FIELDS]),
        msgpack.packb(FIELDS) + b"\xc0",
        msgpack.packb(FIELDS)[:-1],
        b"\x86" + msgpack.packb(FIELDS)[1:] + msgpack.packb("name") + msgpack.packb("web2"),
        b"\x86" + msgpack.packb(FIELDS)[1:] + b"\x07\x07",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 3_000,
    ],
    ids=["nothing", "nil", "empty", "list", "more", "cut", "twice", "int-key", "huge", "deep"],
)
async def test_bytes_that_are_no_entry_are_refused(entry: bytes) -> None:
    with pytest.raises(BadEntry):
        parse(await signed_bytes(entry))


async def test_an_entry_and_its_signature_have_a_size() -> None:
    long = await signed_bytes(msgpack.packb(FIELDS | {"more": b"x" * 4_000}))
    with pytest.raises(BadEntry, match="4096 bytes"):
        parse(long)
    entry, sshsig = await signed()
    with pytest.raises(BadEntry, match="1024 bytes"):
        parse(Signed(entry, sshsig + b"x" * 1_000))


async def test_nothing_is_signed_that_would_be_refused() -> None:
    with pytest.raises(BadEntry):
        await signed(addresses=["unix:/run/echo"])
    with pytest.raises(BadEntry):
        await signed(life=7_200)

    async def wrong(data: bytes) -> bytes:
        return await BOB.sign(data)

    with pytest.raises(BadEntry, match="signature is wrong"):
        await signed(Identity(ALICE.public_key, wrong))


async def test_ssh_keygen_takes_the_signature(tmp_path: Any) -> None:
    """The signature is one that others can check."""
    import base64
    import subprocess

    entry, sshsig = await signed()
    lines = base64.encodebytes(sshsig).decode()
    (tmp_path / "sig").write_text(f"-----BEGIN SSH SIGNATURE-----\n{lines}-----END SSH SIGNATURE-----\n")
    (tmp_path / "allowed").write_text(f"alice {ALICE.public_key}\n")
    command = ["ssh-keygen", "-Y", "verify", "-n", "chanlink-entry-v1", "-I", "alice"]
    command += ["-f", str(tmp_path / "allowed"), "-s", str(tmp_path / "sig")]
    subprocess.run(command, input=entry, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("seconds", "good"), [(-900, True), (-901, False), (300, True), (302, False), (0, True), (-600, True)]
)
async def test_an_entry_of_the_future_or_long_over_is_refused(seconds: int, good: bool) -> None:
    now = 1_800_000_000
    said = parse(await signed(serial=(now + seconds) * 10**9, life=600))
    if good:
        said.check_time(now)
    else:
        with pytest.raises(BadEntry, match="clock"):
            said.check_time(now)


async def test_a_client_gets_only_addresses_that_it_can_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["tls://web1.example", "tcp://10.0.0.1:9323", "via://relay/web1"]
    said = parse(await signed(addresses=addresses, services=["echo"]))
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    entry = entry_of(said, 20.0, b"prekeys")
    assert entry.addresses == ("tcp://10.0.0.1:9323",)
    assert (entry.name, entry.key, entry.services, entry.prekeys) == ("web1", ALICE.public_key, ("echo",), b"prekeys")
    assert entry.expires_in == pytest.approx(20.0)
    assert entry_of(said, 1e9, b"").expires_in == pytest.approx(600)  # whatever the directory says
    monkeypatch.setattr(clock, "now", lambda: now + 21)
    assert entry.expires_in == 0


def test_serials_of_now_are_in_range() -> None:
    assert 0 < now_serial() <= entries.MAX_SERIAL
    assert time.time() * 1e9 < entries.MAX_SERIAL


async def test_the_example_of_the_protocol_page_is_what_is_signed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text()
    block = page.partition("### 15.1 Entries")[2].partition("```text\n")[2].partition("```")[0]
    entry, sshsig = block.removeprefix("entry:\n").split("sshsig:\n")
    made = await sign(ALICE, "web1", ["tcp://192.0.2.1:9323"], ["echo"], 1_800_000_000_000_000_000, 900)
    assert made == Signed(bytes.fromhex(entry), bytes.fromhex(sshsig))


def test_the_bounds_on_the_protocol_page_are_those_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text()
    section = page.partition("## 15. The directory")[2]
    for number in (
        *(entries.MAX_ENTRY, entries.MAX_PREKEYS, entries.MAX_NAME, entries.MAX_LIFE, entries.CLOCK_SKEW),
        *(entries.ADDRESSES, entries.MAX_ADDRESS, entries.SERVICES, entries.MAX_SERVICE),
        *(OWNERS, MOST_PENDING, FOLLOWERS),
    ):
        assert re.search(rf"\b{number:,}\b", section), number
    for problem in PROBLEMS:
        assert f"| `{problem.code}` |" in section
    for scheme in entries.REMOTE:
        assert f"`{scheme}`" in section
