"""A prekey says whose it is, until when, and what its server accepts; nobody can make another one of its name."""

import time

import msgpack
import pytest

from chanlink import HandshakeError, Limits
from chanlink.security.early.prekey import read_prekey
from chanlink.security.keys.certificate import Role
from chanlink.security.payloads import PREKEY_MAX

from .keys import SERVER, a_prekey

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def test_what_a_server_has_made_a_client_reads() -> None:
    prekey, _ = await a_prekey(limits=Limits(message_size=77, message_ends=3))
    read = read_prekey(prekey.packed)
    assert read == prekey
    assert read.name == prekey.name
    assert len(read.name) == 8
    assert (read.limits.message_size, read.limits.message_ends) == (77, 3)
    assert read.verify(int(time.time())) == SERVER.public_key


async def test_it_is_good_until_its_certificate_ends() -> None:
    prekey, _ = await a_prekey(life=100)
    assert prekey.verify(prekey.ends_at) == SERVER.public_key
    with pytest.raises(HandshakeError, match="expired"):
        prekey.verify(prekey.ends_at + 1)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
async def test_a_certificate_for_another_use_is_none(role: Role) -> None:
    """So whoever gets hold of one of the two keys of a server can't use it in the place of the other."""
    prekey, _ = await a_prekey(role=role)
    with pytest.raises(HandshakeError, match="role"):
        prekey.verify(int(time.time()))


async def test_other_limits_make_another_name() -> None:
    """Nobody in between can change what the server accepts: it would not know that prekey."""
    prekey, _ = await a_prekey()
    said = msgpack.unpackb(prekey.packed)
    said["limits"]["message_size"] += 1
    assert read_prekey(msgpack.packb(said)).name != prekey.name


async def test_what_can_not_be_one_is_refused() -> None:
    prekey, _ = await a_prekey()
    said = msgpack.unpackb(prekey.packed)
    for packed in (
        b"",
        b"\x80",
        prekey.packed + b"\x00",
        msgpack.packb(said | {"static": bytes(31)}),
        msgpack.packb(said | {"static": b"\xff" * 32}),
        msgpack.packb(said | {"limits": {"message_size": 0}}),
        msgpack.packb(said | {"more": bytes(PREKEY_MAX)}),
    ):
        with pytest.raises(HandshakeError):
            read_prekey(packed)
