"""The handshake by a prekey, as the side that connects (protocol section 2.4), one message at a time.

When the data is there, whose it is and how it gets to the server is the business of `early_stream`.
"""

import time
from collections.abc import Collection
from typing import NamedTuple

import msgpack
from anyio.abc import ByteStream

from chanlink import clock
from chanlink.errors import HandshakeError, WrongPeer
from chanlink.features import CREDENTIAL_RENEWAL, FEATURES, ONE_SERVICE
from chanlink.forks import forget_in_child
from chanlink.limits import Limits
from chanlink.security.early.prekey import Prekey
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair

from .handshake import answer_to, answer_with, ask, keys_for
from .hello import MAX_EARLY_MESSAGE, hello_of, offered
from .noise_stream import NoiseStream
from .payloads import EARLY_ANSWER, read
from .records import prefixed
from .rekey import Thresholds, secrets_of
from .showing import Shown, agreed_of, understood
from .statics import EARLY_PATTERN, PROTOCOL_NAME, Statics

EARLY_PROTOCOL = PROTOCOL_NAME.format(EARLY_PATTERN)
ANSWERED_WITHIN = 30.0
"""Seconds after message 1 in which a server may decline it."""
_AROUND = 32 + 48 + 16
"""Bytes of message 1 besides its payload: an ephemeral key, the static one with its tag, and a tag."""


class Taken(NamedTuple):
    """What message 2 gives."""

    stream: NoiseStream
    prekey: bytes
    """Another one, for the next time; empty if there is none."""


class EarlyHandshake:
    """One attempt of a client by a prekey. Its methods are called in their order."""

    def __init__(
        self,
        prekey: Prekey,
        key: PublicKey,
        statics: Statics,
        static: tuple[KeyPair, Shown],
        limits: Limits,
        *,
        service: str = "",
        features: Collection[str] = FEATURES,
        thresholds: Thresholds | None = None,
    ) -> None:
        """``key`` is the server's, as the prekey has been verified, and ``static`` the current one of ``statics``, with
        what is shown for it. With ``service`` the session is for that alone, which the prekey has to know."""
        self.key = key
        self.limits = prekey.limits
        """What the server accepts."""
        self.features = agreed_of(features, {"features": prekey.features})
        """Those that both sides have listed."""
        self._prekey = prekey
        self._statics = statics
        self._own_limits = limits
        self._thresholds = thresholds
        self._service = service
        shown = static[1]._replace(successor=None)  # the first message has none
        self._said = {**shown.entries(), "peer": key.raw, **understood(limits, features)}
        if service:
            self._said["service"] = service
        self._passed = hello_of(EARLY_PATTERN, prekey=prekey.name)
        self._noise = HandshakeState(
            EARLY_PROTOCOL, True, prologue=self._passed + prekey.packed, s=static[0], rs=prekey.static
        )
        self._sent_at = 0.0
        self.room = MAX_EARLY_MESSAGE - _AROUND - len(msgpack.packb(self._said | {"data": bytes(256)})) + 256
        """How many bytes of data there is room for."""
        forget_in_child(self._noise)

    @classmethod
    async def prepared(cls, prekey: Prekey, statics: Statics, limits: Limits, service: str = "") -> "EarlyHandshake":
        """Raises `HandshakeError` where the prekey is not good, or its server does not know of sessions for one
        service; and what the signer of our identity raises."""
        key = prekey.verify(int(time.time()))
        if service and ONE_SERVICE not in prekey.features:
            raise HandshakeError("the server of the prekey knows of no sessions for one service")
        return cls(prekey, key, statics, await statics.shown(), limits, service=service)

    def first(self, data: bytes) -> bytes:
        """What the client begins with: the hello, and message 1 with this data."""
        message = prefixed(self._noise.write_message(msgpack.packb(self._said | {"data": data})))
        hello, self._passed = self._passed, self._passed + message
        self._sent_at = clock.now()
        return hello + message

    def read_answer(self, transport: ByteStream, message: bytes) -> Taken:
        """Take message 2. Raises `HandshakeError`."""
        said = read(self._noise.read_message(message), EARLY_ANSWER)
        if said["you"] != self._statics.identity.public_key.raw:
            raise HandshakeError("the server takes this client for another one")
        if said["code"]:
            raise HandshakeError("the server refuses in a welcome that can't refuse")
        suite = offered(said["suite"])
        secrets = secrets_of(self._noise)
        keys, buffers = keys_for(secrets, suite, Role.CLIENT, self._thresholds)
        if CREDENTIAL_RENEWAL in self.features:
            keys.expect_credentials()
        return Taken(NoiseStream(transport, keys, secrets, buffers), said.get("prekey", b""))

    async def begin_again(self, transport: ByteStream) -> NoiseStream:
        """The ordinary handshake, on the same connection, when the server has declined. The welcome is to come.

        Raises `HandshakeError`, and `WrongPeer` where it is another server.
        """
        self._noise.forget()
        if clock.now() - self._sent_at > ANSWERED_WITHIN:
            raise HandshakeError("the server declined the first data too late: it may have been taken", code="late")
        noise, shown, found = await ask(transport, self._statics, passed=self._passed + prefixed(b""))
        if found.key != self.key:
            raise WrongPeer(self.key.fingerprint, found.key.fingerprint)
        if found.peer_limits != self.limits or not self.features.issubset(found.offer.get("features", ())):
            text = "the server has other limits or features than its prekey said; connect again"
            raise HandshakeError(text, code="changed")
        answer = answer_to(found, shown, self._own_limits, self.features, self._service) | {"early": 1}
        return await answer_with(transport, noise, found, answer, self._statics, self._thresholds)
