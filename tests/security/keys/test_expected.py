"""Which server is expected: of a key and a trust, what is given must agree to it. Alone, and with `connect`."""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink import ConfigError, Identity, KnownPeers, PublicKey, Trust, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.security.keys.credential import HOST, USER
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.successor import Successor
from chanlink.security.keys.trust import Grant
from chanlink.transport.address import Address, Name

from .credentials import CA

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


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", f"{NAME} {KEY}", f"{NAME} {OTHER}", f"@revoked * {OTHER}"])
async def test_a_server_of_before_is_met_again_whatever_else_the_file_says(text: str, file: Path) -> None:
    expected = await Expected.of(PLACE, None, known(file, f"{NAME} {KEY}"))
    file.write_text(text)
    await expected.check_again(KEY)


@pytest.mark.anyio
async def test_a_server_of_before_is_not_met_again_when_its_key_is_revoked_or_that_can_not_be_said(file: Path) -> None:
    expected = await Expected.of(PLACE, KEY, known(file, f"{NAME} {KEY}"))
    for text, problem in (f"@revoked {NAME} {KEY}", UntrustedPeer), ("@nonsense", TrustFormatError):
        file.write_text(text)
        with pytest.raises(problem):
            await expected.check_again(KEY)
    await (await Expected.of(PLACE, KEY, None)).check_again(KEY)  # no file has anything to say


# --- credentials and successors -----------------------------------------------------------------

ORG = CA("our hosts")


def succession(new: PublicKey = OTHER, old: PublicKey = KEY) -> Presented:
    return Presented(new, None, Successor(old, new, int(time.time()), b""))


@pytest.mark.anyio
async def test_a_host_that_an_authority_of_the_file_vouches_for_is_admitted_and_not_written_down(file: Path) -> None:
    text = f"@cert-authority *.example {ORG.key}\n"
    expected = await Expected.of(PLACE, None, known(file, text, first_use=True))
    presented = Presented(KEY, ORG.issue(KEY, "build.example", type=HOST))
    assert expected.admit(presented).name == "build.example@our hosts"
    await expected.remember()
    with pytest.raises(UntrustedPeer, match="it has shown no credential"):
        expected.admit(Presented(KEY))
    assert expected.knows(KEY) is None  # so that nobody begins at once by a prekey alone
    assert file.read_text() == text


@pytest.mark.anyio
async def test_a_host_with_a_credential_of_an_unknown_authority_is_as_one_without(file: Path) -> None:
    presented = Presented(KEY, ORG.issue(KEY, "build.example", type=HOST))
    with pytest.raises(UntrustedPeer) as caught:
        (await Expected.of(PLACE, None, known(file, ""))).admit(presented)
    assert caught.value.key == str(BARE)
    expected = await Expected.of(PLACE, None, known(file, "", first_use=True))
    assert expected.admit(presented).name == KEY.fingerprint
    await expected.remember()
    assert file.read_text() == f"{NAME} {BARE}\n"


@pytest.mark.anyio
async def test_authorities_of_a_trust_vouch_for_no_server(file: Path) -> None:
    file.write_text(f'cert-authority,issuer="example",principals="build.example,alice" {ORG.key}\n')
    expected = await Expected.of(PLACE, None, Trust.load(file))
    for type, principal in (HOST, "build.example"), (USER, "alice"):
        with pytest.raises(UntrustedPeer):
            expected.admit(Presented(KEY, ORG.issue(KEY, principal, type=type)))


@pytest.mark.anyio
async def test_an_authority_that_was_revoked_meanwhile_keeps_no_server(file: Path) -> None:
    expected = await Expected.of(PLACE, None, known(file, f"@cert-authority *.example {ORG.key}\n"))
    presented = Presented(KEY, ORG.issue(KEY, "build.example", type=HOST))
    await expected.check_again(presented)
    file.write_text(f"@cert-authority *.example {ORG.key}\n@revoked * {ORG.key}\n")
    with pytest.raises(UntrustedPeer, match="revoked"):
        await expected.check_again(presented)


@pytest.mark.anyio
async def test_a_new_key_in_the_place_of_a_known_one_is_written_down_and_said_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"{NAME} {KEY}\n"
    expected = await Expected.of(PLACE, None, known(file, text))
    other = await Expected.of(PLACE, None, KnownPeers.load(file))
    for one in expected, other:
        assert one.admit(succession()).name == "server.example"
        assert one.may_follow(OTHER)
    assert file.read_text() == text  # nor may it be before the handshake is done
    for one in expected, other:
        await one.remember()
    assert file.read_text() == f"{NAME} {PublicKey(OTHER.raw, 'server.example')}\n@revoked * {BARE}\n"
    messages = [record.getMessage() for record in caplog.records]
    place = f"tcp://build.example:1234 has the key {OTHER.fingerprint} from now on"
    assert messages == [f"{place}, in the place of {KEY.fingerprint}, which is revoked"]


@pytest.mark.anyio
async def test_a_file_that_cannot_be_written_is_no_reason_not_to_follow(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (file.parent / "folder").mkdir()
    inside = file.parent / "folder" / "known"
    expected = await Expected.of(PLACE, None, known(inside, f"{NAME} {KEY}\n"))
    expected.admit(succession())
    (file.parent / "folder").rename(file.parent / "moved")
    (file.parent / "folder").touch()
    await expected.remember()
    (record,) = caplog.records
    assert f"in the place of {KEY.fingerprint}, which is not revoked: " in record.getMessage()


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["a key", "a trust", "a key beside a file"])
async def test_a_key_that_the_program_names_has_no_successor_and_the_error_says_so(what: str, file: Path) -> None:
    given: dict[str, tuple[PublicKey | None, Trust | KnownPeers | None]] = {
        "a key": (KEY, None),
        "a trust": (None, Trust.of(KEY)),
        "a key beside a file": (KEY, known(file, f"{NAME} {KEY}\n")),
    }
    expected = await Expected.of(PLACE, *given[what])
    assert not expected.may_follow(OTHER)
    with pytest.raises((WrongPeer, UntrustedPeer), match="has to name the new one") as caught:
        expected.admit(succession())
    assert caught.value.advice
    with pytest.raises((WrongPeer, UntrustedPeer)) as caught:
        expected.admit(succession(old=Identity.generate().public_key))
    assert not caught.value.advice
    text = file.read_text()
    await expected.remember()
    assert file.read_text() == text


# --- names in a directory -----------------------------------------------------------------------

WEB = Name("web1")


async def of_a_name(file: Path, text: str, *listed: PublicKey, trust: bool = False, **options: Any) -> Expected:
    expected = await Expected.of(WEB, None, known(file, text, **options), trust_directory=trust)
    expected.list_keys(listed)
    return expected


@pytest.mark.anyio
async def test_known_peers_vouch_for_a_name_whatever_the_directory_says(file: Path) -> None:
    for listed in [KEY], [OTHER], [KEY, OTHER]:
        for trust in False, True:
            expected = await of_a_name(file, f"chanlink://web1 {KEY}\n", *listed, trust=trust)
            assert expected.admit(KEY).name == "server.example"
            with pytest.raises(WrongPeer):
                expected.admit(OTHER)


@pytest.mark.anyio
async def test_a_directory_alone_vouches_for_nobody(file: Path) -> None:
    expected = await of_a_name(file, "", KEY)
    for act in expected.check, expected.admit:
        with pytest.raises(UntrustedPeer, match=re.escape(f"add this line to {file}: chanlink://web1 {BARE}")):
            act(KEY)


@pytest.mark.anyio
async def test_a_trusted_directory_vouches_for_the_keys_that_it_lists_and_no_others(file: Path) -> None:
    expected = await of_a_name(file, "", KEY, trust=True)
    assert expected.admit(KEY) == expected.check(KEY) == Grant("web1", None)
    with pytest.raises(WrongPeer) as caught:
        expected.admit(OTHER)
    assert (caught.value.expected, caught.value.actual) == (KEY.fingerprint, OTHER.fingerprint)
    with pytest.raises(UntrustedPeer):  # it has said nothing yet
        (await of_a_name(file, "", trust=True)).admit(KEY)


@pytest.mark.anyio
async def test_a_trusted_directory_does_not_overrule_a_revocation(file: Path) -> None:
    expected = await of_a_name(file, f"@revoked * {KEY}", KEY, trust=True)
    with pytest.raises(UntrustedPeer, match="revoked"):
        expected.check(KEY)


@pytest.mark.anyio
async def test_first_use_of_a_name_takes_a_key_that_is_listed_once_it_is_proved(file: Path) -> None:
    expected = await of_a_name(file, "", KEY, first_use=True)
    expected.check(KEY)  # of an entry: nobody has proved it
    await expected.remember()
    with pytest.raises(WrongPeer):
        expected.admit(OTHER)
    await expected.remember()
    assert file.read_text() == ""
    expected.admit(KEY)
    await expected.remember()
    assert file.read_text() == f"chanlink://web1 {BARE}\n"


@pytest.mark.anyio
@pytest.mark.parametrize(("peer", "trust"), [(KEY, None), (None, Trust.of(KEY))], ids=["peer", "trust"])
async def test_who_says_the_key_needs_no_word_of_the_directory(peer: PublicKey | None, trust: Trust | None) -> None:
    expected = await Expected.of(WEB, peer, trust)
    expected.list_keys([OTHER])
    assert expected.admit(KEY).name == "server.example"
    with pytest.raises(ConfigError, match="say one of them"):
        await Expected.of(WEB, peer, trust, trust_directory=True)
    await Expected.of(PLACE, peer, trust, trust_directory=True)  # nobody asks a directory for that


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
        KnownPeers.load().add(address, KEY)
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
