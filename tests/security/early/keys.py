"""Prekeys of a server, as tests need them."""

import time

from chanlink import Identity, Limits
from chanlink.features import FEATURES
from chanlink.security.early.prekey import Prekey, made
from chanlink.security.keys.certificate import CLOCK_SKEW, Role, certify
from chanlink.security.noise.x25519 import KeyPair, generate_keypair

SERVER = Identity.generate("server")


async def a_prekey(
    identity: Identity = SERVER, *, life: int = 1_200, role: Role = Role.PREKEY, limits: Limits | None = None
) -> tuple[Prekey, KeyPair]:
    """One of this server, with its secret half."""
    static = generate_keypair()
    certificate = await certify(identity, static.public, role, int(time.time()), life + CLOCK_SKEW)
    return made(static.public, certificate, (limits or Limits()).announced(), FEATURES), static
