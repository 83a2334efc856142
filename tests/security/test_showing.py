"""What each side shows of itself in a handshake, and what the other one makes of that (protocol sections 2.5, 2.6)."""

import time
from typing import Any

import pytest
from anyio.abc import ByteStream

from chanlink import HandshakeError, Limits
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.credential import HOST, USER, Credential
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.successor import LIFE, Successor
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.payloads import ANSWER, OFFER, read
from chanlink.security.showing import Shown, agreed_of, presented, type_of, understood
from tests.security.keys.credentials import CA

from .handshakes import ALICE, MALLORY, SERVER, Pair, authenticated, one_backend, packed
from .wires import wires, with_another_end

pytestmark = pytest.mark.anyio
ORG = CA("org")
STATIC = generate_keypair()


async def payload(**changes: object) -> dict[str, Any]:
    """What ALICE says, as it was read."""
    certificate = await certify(ALICE, STATIC.public, Role.CLIENT, int(time.time()))
    said = {**Shown(certificate).entries(), "peer": bytes(32), **changes}
    return read(packed(said), ANSWER)


async def shown(**changes: object) -> Presented:
    return presented(await payload(**changes), STATIC.public, Role.CLIENT, "192.0.2.7")


@one_backend
async def test_a_key_alone_is_enough() -> None:
    assert await shown() == Presented(ALICE.public_key, None, None, "192.0.2.7")


@one_backend
async def test_a_credential_comes_with_the_key_that_it_is_of() -> None:
    credential = ORG.issue(ALICE.public_key, "alice", "admin")
    found = await shown(ssh_certificate=credential.blob)
    assert (found.key, found.credential) == (ALICE.public_key, credential)


@one_backend
@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (ORG.blob(MALLORY.public_key), "of another key"),
        (ORG.blob(ALICE.public_key, type=HOST), "of the wrong type"),
        (ORG.blob(ALICE.public_key, principals=()), "no principal"),
        (ORG.blob(ALICE.public_key, rest=b"\0"), "can't be read"),
        (with_another_end(ORG.blob(ALICE.public_key)), "can't be read"),
        (b"x", "can't be read"),
    ],
)
async def test_a_credential_that_can_not_count_fails_the_handshake(blob: bytes, words: str) -> None:
    with pytest.raises(HandshakeError, match=words):
        await shown(ssh_certificate=blob)


@one_backend
@pytest.mark.parametrize("blob", [b"", bytes(2_049), "text", None], ids=["empty", "too long", "a text", "nothing"])
async def test_a_credential_has_1_to_2048_bytes(blob: object) -> None:
    with pytest.raises(HandshakeError, match="ssh_certificate"):
        await payload(ssh_certificate=blob)


@one_backend
async def test_whether_a_credential_counts_now_is_not_asked_here() -> None:
    ended = ORG.issue(ALICE.public_key, before=1)
    assert (await shown(ssh_certificate=ended.blob)).credential == ended


def test_servers_have_credentials_of_hosts() -> None:
    assert (type_of(Role.CLIENT), type_of(Role.SERVER)) == (USER, HOST)


@one_backend
async def test_a_successor_takes_the_place_of_an_old_key() -> None:
    successor = await Successor.made(MALLORY, ALICE.public_key, int(time.time()))
    found = await shown(successor={"time": successor.time, "sshsig": successor.sshsig})
    assert found.successor is not None
    assert (found.successor.old, found.successor.new) == (MALLORY.public_key, ALICE.public_key)


@one_backend
async def test_a_successor_that_does_not_hold_any_more_is_as_if_it_were_not_there() -> None:
    old = await Successor.made(MALLORY, ALICE.public_key, int(time.time()) - LIFE - 1)
    assert (await shown(successor={"time": old.time, "sshsig": old.sshsig})).successor is None


@one_backend
async def test_a_successor_of_another_key_fails_the_handshake() -> None:
    other = await Successor.made(MALLORY, SERVER.public_key, int(time.time()))
    for sshsig in (other.sshsig, b"", b"x" * 100):
        with pytest.raises(HandshakeError, match="the successor can't be read"):
            await shown(successor={"time": other.time, "sshsig": sshsig})


@one_backend
async def test_what_is_shown_fits_into_a_message() -> None:
    """With the longest credential that there is."""
    certificate = await certify(SERVER, STATIC.public, Role.SERVER, int(time.time()))
    successor = await Successor.made(MALLORY, SERVER.public_key, int(time.time()))
    long = ORG.issue(SERVER.public_key, *(f"host-{n}.example" for n in range(80)), type=HOST)
    assert 1_500 < len(long.blob) <= 2_048
    said = {**Shown(certificate, long, successor).entries(), "suite": "chachapoly", **understood(Limits(), ["a"])}
    found = read(packed(said), OFFER)
    assert (found["ssh_certificate"], found["successor"]["sshsig"]) == (long.blob, successor.sshsig)
    assert len(packed(said)) + 2_048 - len(long.blob) < 4_096 - 300


def test_features_are_agreed_when_both_list_them() -> None:
    assert agreed_of(["a", "b"], {"features": ["b", "c", "b"]}) == {"b"}
    assert agreed_of(["a", "b"], {}) == frozenset()


# --- a whole handshake --------------------------------------------------------------------------


class Vouched:
    """An identity for which something vouches."""

    def __init__(self, identity: Any, credential: Credential) -> None:
        self._identity = identity
        self._credential = credential

    def __getattr__(self, name: str) -> Any:
        return getattr(self._identity, name)

    async def credential(self, type: int = USER) -> Credential | None:
        return self._credential if self._credential.type == type else None


async def test_both_sides_show_their_credentials(ends: tuple[ByteStream, ByteStream]) -> None:
    pair = Pair()
    of_user, of_host = ORG.issue(ALICE.public_key), ORG.issue(SERVER.public_key, "server.example", type=HOST)
    pair.client.identity, pair.server.identity = Vouched(ALICE, of_user), Vouched(SERVER, of_host)  # type: ignore[assignment]
    client, server = await pair.handshake(*ends)
    assert authenticated(client).presented.credential == of_host
    assert authenticated(server).presented.credential == of_user


@one_backend
async def test_the_address_of_a_client_is_known_where_it_has_one() -> None:
    server: Authenticated
    _, server = map(authenticated, await Pair().handshake(*wires()))
    assert server.presented.address == ""
