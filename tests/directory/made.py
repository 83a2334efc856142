"""Entries for tests, and keys that do not change from run to run."""

import time
from typing import Any

from nacl.bindings import crypto_sign_seed_keypair

from chanlink import Identity, PublicKey
from chanlink.directory.entries import Signed, sign
from chanlink.directory.store import New
from chanlink.security.keys.identity import _SeedSigner

MILLION = 1_000_000


def identity(number: int, comment: str = "") -> Identity:
    """The one with this number."""
    seed = bytes([number]) * 32
    return Identity(PublicKey(crypto_sign_seed_keypair(seed)[0], comment), _SeedSigner(seed))


ALICE, BOB, MALLORY = (identity(number, name) for number, name in ((1, "alice"), (2, "bob"), (3, "mallory")))
KEY, OTHER = ALICE.public_key.raw, BOB.public_key.raw


def new(name: str = "web1", key: bytes = KEY, serial: int = 1, **rest: Any) -> New:
    """What a store gets. Its bytes mean nothing to it."""
    filled = {"life": 60, "listed": False, "entry": b"entry %d" % serial, "sshsig": b"signature", "prekeys": b""}
    return New(name, key, serial, **(filled | rest))


def now_serial() -> int:
    """One that is neither over nor of the future."""
    return time.time_ns()


async def signed(who: Identity = ALICE, name: str = "web1", **rest: Any) -> Signed:
    """An entry of somebody."""
    filled: dict[str, Any] = {"addresses": ["tcp://10.0.0.1:9323"], "services": ["echo"], "life": 600}
    filled |= {"serial": now_serial()} | rest
    return await sign(who, name, **filled)
