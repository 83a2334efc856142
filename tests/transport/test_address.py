"""Addresses: how they are read, and written."""

import shutil
import socket
import subprocess
import sys

import pytest

from chanlink import AddressError, ConfigError
from chanlink.transport.address import (
    MAX_NAME,
    Address,
    Name,
    is_good_name,
    is_name,
    parse_address,
)
from chanlink.transport.target import parse_remote, parse_target
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])


GOOD_ADDRESSES = [
    ("tcp://host", Address("host", 9323)),
    ("tcp://host:0", Address("host", 0)),
    ("tcp://host:1", Address("host", 1)),
    ("tcp://host:65535", Address("host", 65_535)),
    ("tcp://127.0.0.1:80", Address("127.0.0.1", 80)),
    ("tcp://a-b.example:80", Address("a-b.example", 80)),
    ("tcp://bücher.example:80", Address("bücher.example", 80)),
    ("tcp://[::1]", Address("::1", 9323)),
    ("tcp://[::1]:80", Address("::1", 80)),
    ("tcp://[::ffff:127.0.0.1]:80", Address("::ffff:127.0.0.1", 80)),
    ("tcp://[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
    ("unix:/run/chanlink", Address("", 0, "/run/chanlink")),
    ("unix:relative", Address("", 0, "relative")),
    ("unix:/with space/and:colon", Address("", 0, "/with space/and:colon")),
    ("unix:/" + "x" * 106, Address("", 0, "/" + "x" * 106)),
]


@pytest.mark.parametrize(("text", "address"), GOOD_ADDRESSES, ids=lambda value: str(value)[:40])
def test_an_address_is_read_and_written_again(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


BAD_ADDRESSES = [
    "",
    "host",
    "host:80",
    "127.0.0.1:80",
    "tcp:host:80",
    "tcp:/host:80",
    "tcp://",
    "tcp://:80",
    "tcp://host:",
    "tcp://host:x",
    "tcp://host:-1",
    "tcp://host:+1",
    "tcp://host:65536",
    "tcp://host:999999",
    "tcp://host:1.5",
    "tcp://host:٣",
    "tcp://host:80:80",
    "tcp://host:80/",
    "tcp://host/path",
    "tcp://host:80?x=1",
    "tcp://host?",
    "tcp://host#",
    "tcp://user@host:80",
    "tcp://:password@host:80",
    "tcp://@host:80",
    "tcp://::1",
    "tcp://::1:80",
    "tcp://[::1",
    "tcp://[::1]x",
    "tcp://[]:80",
    "tcp://[host]:80",
    "tcp://[127.0.0.1]:80",
    "tcp://ho st:80",
    "tcp://ho\nst:80",
    "tcp://host:80\n",
    " tcp://host:80",
    "tcp://host:80 ",
    "tcp://ho\0st:80",
    "tcp://ho\ud800st:80",
    "TCP://host:80",
    "tls://host:80",
    "http://host:80",
    "ssh-ed25519 AAAA",
    "unix:",
    "unix:/a\0b",
    "unix:/\ud800",
    "unix:/" + "x" * 107,
    "unix:/" + "é" * 54,
    "UNIX:/path",
]


@pytest.mark.parametrize("text", BAD_ADDRESSES, ids=ascii)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value).isprintable()


def test_a_path_may_begin_at_home_and_is_measured_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_address("unix:~/s") == Address("", 0, "/home/me/s")
    monkeypatch.setenv("HOME", "/" + "x" * 106)
    with pytest.raises(AddressError):
        parse_address("unix:~/s")


ZONE = """
import anyio, chanlink

async def main():
    alice, server = chanlink.Identity.generate("alice"), chanlink.Identity.generate("server")
    trust = chanlink.Trust.of(alice.public_key)
    async with chanlink.listen("tcp://[fe80::1%lo]:0", identity=server, trust=trust) as here:
        async with chanlink.connect(here.addresses[0], identity=alice, peer=server.public_key) as session:
            print(here.addresses[0], (await here.accept()).peer.address)

anyio.run(main)
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]


def own_network(*words: str) -> subprocess.CompletedProcess[str]:
    """A command with a loopback interface of its own, which has a link-local address."""
    script = 'ip link set lo up && ip address add fe80::1/64 dev lo && exec "$@"'
    return subprocess.run([*NAMESPACE, script, "sh", *words], capture_output=True, text=True, timeout=PATIENCE)


@one_backend
async def test_an_address_of_one_link_is_said_with_its_zone() -> None:
    if not (shutil.which("unshare") and shutil.which("ip")) or own_network("true").returncode:
        pytest.skip("needs a network namespace")
    done = own_network(sys.executable, "-c", ZONE)
    assert done.returncode == 0, done.stderr
    listened, source = done.stdout.split()
    assert listened.startswith("tcp://[fe80::1%lo]:")
    assert source.startswith("[fe80::1%lo]:")


def test_a_zone_that_an_address_can_not_be_written_with_is_said_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_indextoname", lambda number: {7: "eth0", 8: "a strange:name"}[number])
    for zone, said in [(0, "fe80::1"), (7, "fe80::1%eth0"), (8, "fe80::1%8")]:
        address = Address.of(("fe80::1", 80, 0, zone))
        assert address == Address(said, 80)
        assert parse_address(str(address)) == address
    assert Address.of(("127.0.0.1", 80)) == Address("127.0.0.1", 80)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["web1", "Web-1", "a.b.example", "_x", "9", "x" * MAX_NAME], ids=lambda name: name[:20]
)
def test_a_name_is_read_and_written_again(name: str) -> None:
    assert is_good_name(name)
    assert is_name(f"chanlink://{name}")
    assert parse_target(f"chanlink://{name}") == Name(name)
    assert str(Name(name)) == f"chanlink://{name}"


BAD_NAMES = [
    "",
    "-x",
    ".x",
    "a b",
    "a/b",
    "web1/",
    "web1:9323",
    "web*",
    "wéb",
    "a\n",
    "[::1]",
    "a@b",
    "x" * (MAX_NAME + 1),
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
def test_what_is_no_name_is_an_error_of_one_line(name: str) -> None:
    assert not is_good_name(name)
    with pytest.raises(AddressError, match="is no name: it is chanlink:// and") as caught:
        parse_target(f"chanlink://{name}")
    assert "\n" not in str(caught.value)


def test_what_is_no_name_is_an_address() -> None:
    assert parse_target("tcp://host:1") == Address("host", 1)
    assert parse_target("unix:/run/it") == Address("", 0, "/run/it")
    assert not is_name("CHANLINK://web1")
    for text in ("CHANLINK://web1", "chanlink:web1", "web1"):
        with pytest.raises(AddressError, match="is no address"):
            parse_target(text)


def test_a_name_is_no_address_to_listen_at() -> None:
    with pytest.raises(AddressError, match="'chanlink://web1' is a name: one connects to it"):
        parse_address("chanlink://web1")


def test_what_came_over_the_network_leads_to_another_machine() -> None:
    assert parse_remote("tcp://[::1]:80") == Address("::1", 80)
    for text, words in [
        ("unix:/run/it", "of this machine only"),
        ("chanlink://web2", "is a name"),
        ("exec:id", "is no"),
    ]:
        with pytest.raises(AddressError, match=words):
            parse_remote(text)
