"""How a client that has asked for it begins: by a prekey of the server, where it has one that will do.

Without, it begins as any other, and asks for one. What it gets is kept for the next time.
"""

import os
import time
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeVar

from anyio.abc import ByteStream

from chanlink.arguments import expect
from chanlink.errors import ConfigError, HandshakeError
from chanlink.limits import Limits
from chanlink.security.early.known_prekeys import KnownPrekeys, default_path
from chanlink.security.early.prekey import Prekey, read_prekey
from chanlink.security.early_client import EarlyHandshake
from chanlink.security.early_stream import Begun, EarlyStream
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.threads import run_apart
from chanlink.security.keys.trust import Grant
from chanlink.security.statics import Statics
from chanlink.transport.target import Target

from .naming import Finder

T = TypeVar("T")

Prekeys = str | os.PathLike[str] | KnownPrekeys
"""Where prekeys are kept: a file, or an object."""


class Begin:
    """What begins a connection at once."""

    def __init__(self, handshake: EarlyHandshake, grant: Grant, patience: float) -> None:
        self._handshake = handshake
        self._grant = grant
        self._patience = patience

    @property
    def key(self) -> PublicKey:
        """That of the server whose prekey it is: no other one will do."""
        return self._handshake.key

    async def __call__(self, transport: ByteStream) -> Begun:
        """The stream that has to be sent something. Nothing waits for the server here."""
        handshake = self._handshake
        stream = EarlyStream(transport, handshake, self._patience)
        return Begun(stream, handshake.key, handshake.limits, self._grant, 0.0, handshake.features)


class Early:
    """The prekeys of one server, for a client that uses them."""

    def __init__(self, known: KnownPrekeys, server: str) -> None:
        self._known = known
        self._server = server
        self._used: Prekey | None = None

    async def begin(
        self,
        expected: Expected,
        statics: Statics,
        limits: Limits,
        patience: float,
        find: Finder | None,
        service: str = "",
    ) -> Begin | None:
        """What begins at once, within ``patience`` seconds; None where that can't be: there is no prekey, or it is of a
        server that is not the expected one any more.

        Where a directory says where the server is, a prekey may lie beside that; and one of a server that does not
        have that name now is of no use.
        """
        told = {} if find is None else await find.prekeys()
        known = await self._apart(self._known._find, self._server, time.time())
        for prekey in (known, *map(_read, told.values())):
            begin = None if prekey is None else await self._by(prekey, expected, statics, limits, patience, service)
            if begin is not None and (find is None or begin.key in told):
                self._used = prekey
                return begin
        return None

    async def _by(
        self, prekey: Prekey, expected: Expected, statics: Statics, limits: Limits, patience: float, service: str
    ) -> Begin | None:
        try:
            handshake = await EarlyHandshake.prepared(prekey, statics, limits, service)
        except HandshakeError:
            return None
        grant = expected.knows(handshake.key)
        return None if grant is None else Begin(handshake, grant, patience)

    async def keep(self, packed: bytes) -> None:
        """The server has given this one; empty if it has given none."""
        if packed:
            await self._apart(self._known._put, self._server, packed)

    async def ended(self, stream: EarlyStream) -> None:
        """The session is over that has begun at once."""
        if stream.next_prekey:
            await self.keep(stream.next_prekey)
        elif stream.early != "taken" and self._used is not None:
            await self._apart(self._known._drop, self._server, self._used)

    async def _apart(self, function: Callable[..., T], *args: Any) -> T:
        """A file is read in a thread."""
        return function(*args) if self._known.path is None else await run_apart(function, *args, abandon=True)


def _read(packed: bytes) -> Prekey | None:
    """A prekey that a directory has told. What is none is as if it were not there."""
    try:
        return read_prekey(packed) if packed else None
    except HandshakeError:
        return None


def check_early(
    early: object,
    known_prekeys: Prekeys | None,
    target: Target | None,
    peer: PublicKey | None,
    *,
    psk: object,
    resume: object,
    eager: object,
) -> Early | None:
    """What a client does that has asked for it; None for one that has not. Raises `TypeError`, `ConfigError`."""
    expect("early", early, bool)
    expect("known_prekeys", known_prekeys, str, os.PathLike, KnownPrekeys, NoneType)
    if not early:
        if known_prekeys is not None:
            raise ConfigError("known_prekeys is of no use without early=True")
        return None
    for name, value in {"psk": psk, "resume": resume, "eager": eager}.items():
        if value:
            raise ConfigError(f"early and {name} don't go together: {_REASONS[name]}")
    if target is None and peer is None:
        raise ConfigError("early=True over a byte stream: say which server it is, peer=...")
    known = known_prekeys if isinstance(known_prekeys, KnownPrekeys) else KnownPrekeys(known_prekeys or default_path())
    return Early(known, str(target) if target is not None else f"key {peer.fingerprint if peer else ''}")


_REASONS = {
    "psk": "the first message would have to say who has the key",
    "resume": "what may be resumed begins by the ordinary handshake",
    "eager": "early is eager, and one round trip more",
}
