"""Which server is expected: of a key and a trust, what is given must agree to it. Alone, and with `connect`."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink import ConfigError, Identity, KnownPeers, PublicKey, Trust, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.trust import Grant
from chanlink.transport.address import Address, parse_address

ALICE = Identity.generate("alice")
SERVER = Identity.generate("server.example")
KEY, OTHER = SERVER.public_key, Identity.generate("other").public_key
BARE = PublicKey(KEY.raw)
PLACE = Address("build.example", 1234)
NAME = "[build.example]:1234"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_peers"


def known(file: Path, text: str, **options: Any) -> KnownPeers:
    file.write_text(text)
    return KnownPeers.load(file, **options)


# --- alone --------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_key_admits_the_server_that_has_it_and_no_other() -> None:
    expected = await Expected.of(PLACE, KEY, None)
    assert expected.admit(KEY) == Grant("server.example", None)
    with pytest.raises(WrongPeer) as caught:
        expected.admit(OTHER)
    assert (caught.value.expected, caught.value.actual) == (KEY.fingerprint, OTHER.fingerprint)
    assert (await Expected.of(None, BARE, None)).admit(KEY).name == KEY.fingerprint


@pytest.mark.anyio
async def test_a_trust_admits_whom_it_trusts() -> None:
    expected = await Expected.of(None, None, Trust.of(KEY))
    assert expected.admit(KEY) == Grant("server.example", None)
    with pytest.raises(UntrustedPeer) as caught:
        expected.admit(OTHER)
    assert caught.value.fingerprint == OTHER.fingerprint


@pytest.mark.anyio
async def test_a_key_and_a_trust_must_both_admit_it() -> None:
    expected = await Expected.of(PLACE, KEY, Trust.of(OTHER))
    with pytest.raises(UntrustedPeer):
        expected.admit(KEY)
    with pytest.raises(WrongPeer):
        expected.admit(OTHER)


@pytest.mark.anyio
async def test_known_peers_are_read_again_and_decide_by_the_address(file: Path) -> None:
    peers = known(file, "")
    file.write_text(f"{NAME} {KEY}\n")
    assert (await Expected.of(PLACE, None, peers)).admit(KEY).name == "server.example"
    with pytest.raises(UntrustedPeer) as caught:
        (await Expected.of(Address("elsewhere", 1234), None, peers)).admit(KEY)
    assert caught.value.key == str(BARE)
    assert f"add this line to {file}: [elsewhere]:1234 {BARE}" in caught.value.advice


@pytest.mark.anyio
async def test_a_server_is_remembered_when_it_was_met_for_the_first_time(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await Expected.of(PLACE, None, KnownPeers.load(file, first_use=True))
    await expected.remember()  # nobody was met
    assert not file.exists()
    assert expected.admit(KEY).name == KEY.fingerprint
    assert not file.exists()  # nor may it be remembered before the handshake is done
    with caplog.at_level(logging.WARNING):
        await expected.remember()
    assert file.read_text() == f"{NAME} {BARE}\n"
    assert KEY.fingerprint in caplog.text
    again = await Expected.of(PLACE, None, KnownPeers.load(file, first_use=True))
    with pytest.raises(WrongPeer):
        again.admit(OTHER)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("place", "trust"),
    [(None, lambda file: None), (None, KnownPeers.load), (Address("with space", 1), KnownPeers.load)],
    ids=["nothing", "no address", "an address that no file can name"],
)
async def test_what_cannot_be_expected_is_an_error_before_anybody_connects(
    place: Address | None, trust: Callable[[Path], KnownPeers | None], file: Path
) -> None:
    with pytest.raises(ConfigError, match="say which server you expect"):
        await Expected.of(place, None, trust(file))


# --- connecting ---------------------------------------------------------------------------------


async def echo(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for reply in requests:
        async with reply:
            await reply.send(peer.name)


def listen(**options: Any) -> Any:
    defaults: dict[str, Any] = {"identity": SERVER, "trust": Trust.of(ALICE.public_key), "services": {"echo": echo}}
    return chanlink.listen("tcp://127.0.0.1:0", **defaults | options)


async def try_to_connect(address: str, **options: Any) -> chanlink.Peer:
    async with chanlink.connect(address, **{"identity": ALICE} | options) as session:
        await session.ping()
        return session.peer


def name_in_file(address: str) -> str:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return f"[{host}]:{port}"


@pytest.mark.anyio
async def test_known_server_is_connected_to_and_another_is_not(file: Path) -> None:
    async with listen() as listener:
        (address,) = listener.addresses
        peers = known(file, f"{name_in_file(address)} {BARE} it\n")
        assert await try_to_connect(address, trust=peers) == chanlink.Peer(KEY, "it", address)
        file.write_text(f"{name_in_file(address)} {OTHER}\n")  # the file is read for each connection
        with pytest.raises(WrongPeer) as caught:
            await try_to_connect(address, trust=peers)
    assert (caught.value.expected, caught.value.actual) == (OTHER.fingerprint, KEY.fingerprint)


@pytest.mark.anyio
async def test_unknown_server_is_refused_with_the_line_that_would_allow_it(file: Path) -> None:
    async with listen() as listener:
        (address,) = listener.addresses
        with pytest.raises(UntrustedPeer) as caught:
            await try_to_connect(address, trust=KnownPeers.load(file))
        assert not file.exists()
        assert caught.value.fingerprint == KEY.fingerprint
        assert "\n" not in str(caught.value)
        line = str(caught.value).partition(f"add this line to {file}: ")[2]
        assert line == f"{name_in_file(address)} {BARE}"
        file.write_text(line)
        await try_to_connect(address, trust=KnownPeers.load(file))


@pytest.mark.anyio
async def test_first_use_adds_the_key_and_from_then_on_it_is_the_only_one(file: Path) -> None:
    async with listen() as listener:
        (address,) = listener.addresses
        peers = KnownPeers.load(file, first_use=True)
        for _ in range(2):
            assert (await try_to_connect(address, trust=peers)).name == KEY.fingerprint
        assert file.read_text() == f"{name_in_file(address)} {BARE}\n"
        file.write_text(f"{name_in_file(address)} {OTHER}\n")
        with pytest.raises(WrongPeer):
            await try_to_connect(address, trust=peers)


@pytest.mark.anyio
async def test_first_use_remembers_a_server_that_refuses_us(file: Path) -> None:
    async with listen(trust=Trust.nobody()) as listener:
        (address,) = listener.addresses
        with pytest.raises(UntrustedPeer) as caught:
            await try_to_connect(address, trust=KnownPeers.load(file, first_use=True))
        assert caught.value.fingerprint == ALICE.public_key.fingerprint
        assert file.read_text() == f"{name_in_file(address)} {BARE}\n"


@pytest.mark.anyio
async def test_there_is_no_session_when_the_key_of_first_use_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "peers")
    async with listen() as listener:
        peers = KnownPeers.load(tmp_path / "dangling", first_use=True)
        (tmp_path / "file").touch()
        with pytest.raises(TrustFormatError):
            await try_to_connect(listener.addresses[0], trust=peers)


@pytest.mark.anyio
async def test_default_file_decides_when_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with listen() as listener:
        (address,) = listener.addresses
        with pytest.raises(UntrustedPeer, match="known_peers"):
            await try_to_connect(address)
        KnownPeers.load().add(parse_address(address), KEY)
        assert (await try_to_connect(address)).key == KEY


@pytest.mark.anyio
async def test_of_a_key_and_a_file_both_must_agree(file: Path) -> None:
    async with listen() as listener:
        (address,) = listener.addresses
        peers = known(file, f"{name_in_file(address)} {KEY}\n")
        await try_to_connect(address, peer=KEY, trust=peers)
        with pytest.raises(WrongPeer):
            await try_to_connect(address, peer=OTHER, trust=peers)
        with pytest.raises(UntrustedPeer):
            await try_to_connect(address, peer=KEY, trust=known(file, ""))


@pytest.mark.anyio
async def test_who_has_no_address_must_be_expected_by_key(file: Path) -> None:
    here, _ = chanlink.byte_pipe()
    for options in ({}, {"trust": KnownPeers.load(file, first_use=True)}):
        with pytest.raises(ConfigError, match="which server"):
            await try_to_connect(here, **options)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_file_that_cannot_be_read_is_an_error_before_anything_is_done(file: Path) -> None:
    peers = KnownPeers.load(file)
    file.write_text("nonsense")
    with pytest.raises(TrustFormatError, match="known_peers:1"):
        await try_to_connect("tcp://127.0.0.1:1", trust=peers)
