"""What a process authenticates itself with: a static key of Noise, and what it shows for that (protocol section 2)."""

import math
import time

import anyio

from chanlink import clock
from chanlink.forks import forget_in_child
from chanlink.printing import printable_logger
from chanlink.security.keys.certificate import Certificate, Role, certify
from chanlink.security.keys.credential import Credential, out_of_time
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.successor import Successor
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair, generate_keypair

from .certified import RENEWAL, RETRY, Certified
from .psk import ReplayGuard
from .showing import Shown, type_of

logger = printable_logger("chanlink")

PROTOCOL_NAME = "Noise_{}_25519_ChaChaPoly_BLAKE2s"
PATTERN, PSK_PATTERN, EARLY_PATTERN = "XX", "XXpsk0", "IK"
LOOK = 10.0
"""Seconds until what vouches for the identity is looked for again: a file, or an agent, has to be asked for it."""


class Statics(Certified[KeyPair]):
    """What this process authenticates itself with in one role: a static key, and what it shows for that."""

    def __init__(self, identity: Identity, role: Role, psk: bytes | None = None) -> None:
        self.identity = identity
        self.role = role
        self.psk = psk
        self.replay_guard = ReplayGuard()
        """Knows the first messages that were answered, of clients with the pre-shared key."""
        self._vouched: tuple[Credential | None, Successor | None] = None, None
        self._look_at = -math.inf
        self._looking = anyio.Lock()
        super().__init__()

    def forget(self) -> None:
        """In a forked child: it makes a static key of its own. It still knows which first messages were answered."""
        super().forget()
        self._looking = anyio.Lock()

    @property
    def pattern(self) -> str:
        """The handshake that both sides must use."""
        return PATTERN if self.psk is None else PSK_PATTERN

    async def shown(self) -> tuple[KeyPair, Shown]:
        """The key pair, and what is shown for it. Raises as `current`."""
        static, certificate = await self.current()
        credential, successor = await self.vouched()
        return static, Shown(certificate, credential, successor)

    async def vouched(self) -> tuple[Credential | None, Successor | None]:
        """What vouches for the identity at this time, as it was found in the last seconds."""
        if clock.now() >= self._look_at:
            async with self._looking:  # one look for all tasks that wait for it
                if clock.now() >= self._look_at:
                    await self._look()
        return self.vouched_now()

    def vouched_now(self) -> tuple[Credential | None, Successor | None]:
        """As `vouched`, of what was found last."""
        (credential, successor), now = self._vouched, int(time.time())
        if credential is not None and not credential.valid_after <= now < credential.valid_before:
            credential = None
        return credential, successor if successor is None or successor.holds(now) else None

    def unshown(self) -> str:
        """What would vouch for the identity, if it were its time, and what our clock says; empty if nothing would."""
        credential, now = self.identity._unshown.get(type_of(self.role)), clock.since_1970()
        if credential is None or not (why := out_of_time(credential, now)):
            return ""
        name = f"the credential {credential.key_id!r:.80}"
        return f"{name} {why}, and is not shown; our clock says {clock.as_text(now)}"

    async def _look(self) -> None:
        try:
            with anyio.fail_after(RENEWAL):
                credential = await self.identity.credential(type_of(self.role))
                self._vouched = credential, await self.identity.successor()
            self._look_at = clock.now() + LOOK
        except Exception as exc:  # raised by an agent
            logger.warning("what vouches for our key can't be looked for: %s", exc or "no answer")
            self._look_at = clock.now() + RETRY

    async def begin(self, hello: bytes) -> tuple[HandshakeState, Shown]:
        """A handshake with our static key, and what is shown for that. Raises as `current`."""
        static, shown = await self.shown()
        name, psks = PROTOCOL_NAME.format(self.pattern), [] if self.psk is None else [self.psk]
        noise = HandshakeState(name, self.role is Role.CLIENT, prologue=hello, s=static, psks=psks)
        forget_in_child(noise)
        return noise, shown

    async def _make(self) -> tuple[KeyPair, Certificate]:
        static = generate_keypair()
        return static, await certify(self.identity, static.public, self.role, int(time.time()))
