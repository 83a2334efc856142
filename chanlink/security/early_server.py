"""The handshake by a prekey, as the side that accepts: taken, declined, closed without a word (protocol section 2.4).

What costs nothing is looked at first: a message that was taken before, a prekey that is not known, the load. Who is
refused for another reason begins again, so that the reason is told to somebody who has proved to be there.
"""

import time
from collections.abc import Callable, Collection

import anyio
import msgpack
from anyio.abc import ByteStream

from chanlink import clock
from chanlink.errors import ConnectionLost, HandshakeError, SessionClosed, UntrustedPeer
from chanlink.features import CREDENTIAL_RENEWAL, FEATURES
from chanlink.forks import forget_in_child
from chanlink.limits import Limits, PeerLimits
from chanlink.printing import printable_logger
from chanlink.security.early.prekey import Prekey, made
from chanlink.security.early.prekeys import FirstMessage, Held, Prekeys
from chanlink.security.keys.certificate import CLOCK_SKEW, Role, certify
from chanlink.security.keys.identity import Identity
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import DHLEN, generate_keypair
from chanlink.transport.base import ip_of, remote_of

from .buffers import Buffers
from .handshake import Admit, Authenticated, keys_for
from .handshake_server import Met, meet
from .hello import MAX_EARLY_MESSAGE, Hello, decline, receive_hello, receive_prefixed, send
from .noise_stream import NoiseStream
from .payloads import EARLY_FIRST, read
from .records import prefixed
from .rekey import RecordKeys, Secrets, Thresholds, secrets_of
from .showing import agreed_of, presented
from .statics import EARLY_PATTERN, PROTOCOL_NAME, Statics

logger = printable_logger("chanlink")

EARLY_PROTOCOL = PROTOCOL_NAME.format(EARLY_PATTERN)
LIFE = 1_200.0
"""Seconds that a prekey lives, if the limits don't say."""
SIGNING, RETRY = 5.0, 60.0
"""Seconds for a signature of a prekey, and until one that was not made is tried again."""


class PrekeyMaker:
    """The prekeys of a listener: another one is made when somebody is to get one, and it is time."""

    def __init__(
        self, identity: Identity, limits: Limits, *, features: Collection[str] = FEATURES, is_loaded: Callable[[], bool]
    ) -> None:
        """``is_loaded`` says whether there is no time now for what a stranger wants to be opened."""
        self.is_loaded = is_loaded
        self.features = features
        self.limits = limits
        self.identity = identity
        self._life = life_of(identity, limits)
        self._prekeys = Prekeys(self._life)
        self._tried = -RETRY
        self._signing = anyio.Lock()
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: a message must not be taken by both."""
        self._prekeys.forget_all()
        self._tried = -RETRY
        self._signing = anyio.Lock()

    def find(self, name: bytes) -> Held | None:
        return self._prekeys.find(name, clock.now())

    async def newest(self) -> Prekey | None:
        """The prekey to give away; None if there is none, which is never an error."""
        if self._life and self._prekeys.is_due(clock.now()):
            async with self._signing:  # one for all tasks that wait for it
                if self._prekeys.is_due(clock.now()) and clock.now() - self._tried >= RETRY:
                    await self._try()
        held = self._prekeys.newest(clock.now())
        return held.prekey if held is not None else None

    async def _try(self) -> None:
        self._tried = clock.now()
        try:
            with anyio.fail_after(SIGNING):
                await self._make()
            self._tried = -RETRY
        except Exception as exc:  # raised by the signer
            logger.warning("no prekey can be made, and none is given away: %s", exc or "no answer")

    async def _make(self) -> None:
        key_pair = generate_keypair()
        life = int(self._life) + CLOCK_SKEW  # a certificate begins that long before now
        certificate = await certify(self.identity, key_pair.public, Role.PREKEY, int(time.time()), life)
        prekey = made(key_pair.public, certificate, self.limits.announced(), self.features)
        self._prekeys.add(prekey, key_pair, clock.now())


def life_of(identity: Identity, limits: Limits) -> float:
    """How long a prekey lives; 0 if there are none."""
    if limits.prekey is not None:
        return limits.prekey
    return LIFE if identity.signs_here else 0.0


async def meet_either(
    transport: ByteStream, statics: Statics, maker: PrekeyMaker, admit: Admit, limits: Limits
) -> Authenticated | Met:
    """As `handshake.meet`; or a client whose first message was taken, which has its welcome."""
    hello = await receive_hello(transport, statics)
    if hello.prekey:
        met = await meet_early(transport, hello, maker, admit)
        if isinstance(met, Authenticated):
            return met
        hello = met
    return await meet(transport, statics, limits, hello=hello)


async def meet_early(
    transport: ByteStream,
    hello: Hello,
    maker: PrekeyMaker,
    admit: Admit,
    *,
    thresholds: Thresholds | None = None,
) -> Authenticated | Hello:
    """Take a first message with data; or decline it, and return the `Hello` of the handshake that the client begins.

    Raises `HandshakeError` without a word to anybody.
    """
    message = await receive_prefixed(transport, MAX_EARLY_MESSAGE)
    held = maker.find(hello.prekey)
    first = FirstMessage(held, message[:DHLEN]) if held is not None else None
    if first is not None:
        first.check()
    if held is None or first is None or held.has_ended(clock.now()) or maker.is_loaded():
        return await decline(transport, hello, message, first)
    prologue = hello.passed + held.prekey.packed
    noise = HandshakeState(EARLY_PROTOCOL, False, prologue=prologue, s=held.key_pair)
    said = read(noise.read_message(message), EARLY_FIRST)
    client = presented(said, noise.rs, Role.CLIENT, ip_of(remote_of(transport)))
    if said["peer"] != maker.identity.public_key.raw:
        raise HandshakeError("the client believes that it talks to another server")
    try:
        grant = admit(client)
    except (UntrustedPeer, SessionClosed):
        return await decline(transport, hello, message, first)
    first.use(clock.now())  # nobody has waited since it was looked at
    newest = await maker.newest()
    answer = {"suite": hello.suite.name, "code": "", "you": client.key.raw}
    if newest is not None and newest.packed != held.prekey.packed:
        answer["prekey"] = newest.packed
    await send(transport, prefixed(noise.write_message(msgpack.packb(answer))))
    secrets, agreed = secrets_of(noise), agreed_of(maker.features, said)
    keys, buffers = keys_for(secrets, hello.suite, Role.SERVER, thresholds)
    if CREDENTIAL_RENEWAL in agreed:
        keys.expect_credentials()
    stream = TakenStream(transport, keys, secrets, buffers, data=said["data"], patience=maker.limits.handshake)
    peer_limits = PeerLimits(**said.get("limits", {}))
    return Authenticated(stream, client, peer_limits, grant, 0.0, agreed, service=said.get("service", ""))


class TakenStream(NoiseStream):
    """What remains of a handshake whose first message had data, which is received first.

    It may be a recording until a record of the client has come.
    """

    early = "taken"

    def __init__(
        self,
        transport: ByteStream,
        keys: RecordKeys,
        secrets: Secrets,
        buffers: Buffers,
        *,
        data: bytes,
        patience: float,
    ) -> None:
        """The first record has to come within ``patience`` seconds."""
        super().__init__(transport, keys, secrets, buffers)
        if data:
            self._reader.bodies.append(data)
        self._reader.on_first(self._came)
        self._is_live = False
        self._went_live: Callable[[], None] = lambda: None
        self._ends = clock.now() + patience
        self._is_late = False

    @property
    def is_live(self) -> bool:
        return self._is_live

    def on_live(self, went_live: Callable[[], None]) -> None:
        self._went_live = went_live

    def _came(self) -> None:
        self._is_live = True
        self._went_live()

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        super().check_time(overdue)
        if self._is_live or clock.now() < self._ends:
            return
        if self._is_late:  # for the second time: what had come by the first was read since
            raise self._reader.fail(ConnectionLost("nothing came after the first message: it may be a recording"))
        self._is_late = True
