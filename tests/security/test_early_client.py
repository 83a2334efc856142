"""One attempt of a client by a prekey: what it says, and with what it does not begin."""

import msgpack
import pytest

from chanlink import HandshakeError, Identity, Limits
from chanlink.features import FEATURES
from chanlink.limits import PeerLimits
from chanlink.security.early.prekey import Prekey, made
from chanlink.security.early_client import EarlyHandshake
from chanlink.security.hello import MAX_EARLY_MESSAGE
from chanlink.security.keys.certificate import Role

from .early.keys import a_prekey
from .early_pairs import Client
from .handshakes import ALICE, SERVER, one_backend

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite"), one_backend]


async def begun(prekey: Prekey) -> EarlyHandshake:
    return await Client(prekey).handshake()


async def test_it_knows_what_the_server_accepts_before_anything_was_said() -> None:
    prekey, _ = await a_prekey(SERVER, limits=Limits(message_size=99))
    handshake = await begun(prekey)
    assert handshake.key == SERVER.public_key
    assert handshake.limits == Limits(message_size=99).announced()
    assert handshake.features == FEATURES


async def test_features_are_those_that_both_have() -> None:
    prekey, _ = await a_prekey(SERVER)
    other = made(prekey.static, prekey.certificate, PeerLimits(), ["top-level-drain", "of tomorrow"])
    assert (await begun(other)).features == {"top-level-drain"}


async def test_the_offer_names_the_prekey_and_nobody_reads_who_comes() -> None:
    prekey, _ = await a_prekey(SERVER)
    said = (await begun(prekey)).first(b"the data")
    offer = msgpack.unpackb(said[11 : 11 + int.from_bytes(said[9:11], "big")])
    assert (offer["pattern"], offer["prekey"]) == ("IK", prekey.name)
    for secret in (b"the data", ALICE.public_key.raw, SERVER.public_key.raw, prekey.static):
        assert secret not in said


async def test_there_is_room_for_so_much_and_no_more() -> None:
    prekey, _ = await a_prekey(SERVER)
    handshake = await begun(prekey)
    said = handshake.first(bytes(handshake.room))
    hello = 11 + int.from_bytes(said[9:11], "big")
    assert len(said) - hello - 2 == MAX_EARLY_MESSAGE
    assert handshake.room > 7_000


@pytest.mark.parametrize("role", [Role.SERVER, Role.CLIENT])
async def test_what_is_certified_for_another_use_is_no_prekey(role: Role) -> None:
    prekey, _ = await a_prekey(SERVER, role=role)
    with pytest.raises(HandshakeError):
        await begun(prekey)


async def test_one_that_somebody_else_has_signed_is_somebody_elses() -> None:
    mallory = Identity.generate()
    prekey, _ = await a_prekey(mallory)
    assert (await begun(prekey)).key == mallory.public_key


async def test_one_that_has_ended_is_not_used() -> None:
    expired, _ = await a_prekey(SERVER, life=1)
    ended = expired._replace(certificate=expired.certificate.__class__(0, 1, expired.certificate.sshsig))
    with pytest.raises(HandshakeError, match="expired"):
        await begun(ended)
