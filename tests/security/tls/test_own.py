"""The key of one side in TLS: how long it lives, and when a certificate is made of it."""

import time

import pytest

from chanlink.security.keys.certificate import Role
from chanlink.security.keys.identity import Identity
from chanlink.security.tls.certificate import NAMESPACE
from tests.security.handshakes import SERVER, one_backend

from .peers import own

pytestmark = [pytest.mark.anyio, one_backend]


async def test_the_identity_certifies_the_key_in_the_namespace_of_tls() -> None:
    key, shown = await own(SERVER, Role.SERVER).shown()
    certificate = shown.certificate
    assert certificate.verify(key.hash, Role.SERVER, int(time.time()), namespace=NAMESPACE) == SERVER.public_key


async def test_one_context_serves_until_there_is_another_key() -> None:
    side = own(SERVER, Role.SERVER)
    (key, context), again = await side.server_context(), await side.server_context()
    assert again == (key, context)
    side.forget()
    other, renewed = await side.server_context()
    assert other.public != key.public
    assert renewed is not context


async def test_a_key_that_is_elsewhere_signs_as_an_agent_does() -> None:
    asked: list[bytes] = []

    async def sign(data: bytes) -> bytes:
        asked.append(data)
        return await SERVER.sign(data)

    side = own(Identity(SERVER.public_key, sign), Role.SERVER)
    for _ in range(3):
        await side.server_context()
    assert len(asked) == 1
    assert asked[0].startswith(b"SSHSIG")
    assert NAMESPACE in asked[0]
