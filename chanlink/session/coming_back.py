"""How a client gets back to its session: one attempt after the other, until the time is over (protocol section 3.7).

The first one is made at once, and the others after random pauses, which spread those who were cut off at the same
moment. Only what the session's own server says ends it; whoever else is at the address is passed over.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import anyio
from anyio.abc import ByteStream

from chanlink import clock
from chanlink.backoff import Backoff
from chanlink.channels.waiting import within
from chanlink.errors import ConfigError, HandshakeError, HandshakeTimeout, SessionError, WrongPeer
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.resuming.agreement import Agreement
from chanlink.security.resuming.resumable import ResumableStream
from chanlink.security.resuming.returning import TryFailed, return_as_client
from chanlink.security.statics import Statics
from chanlink.security.stream import SecureStream
from chanlink.transport.base import Transport, close_at_once
from chanlink.transport.dial import Dial

from .vouching import Vouching

logger = printable_logger(__name__)

LONGEST_PAUSE = 5.0
"""Seconds between two attempts, at most."""


def pauses() -> Iterator[float]:
    """Before each attempt."""
    backoff = Backoff(LONGEST_PAUSE)
    yield 0.0
    while True:
        yield backoff.pause()


class WayBack(ABC):
    """The way of one client back to its session. The stream that goes it is `stream`."""

    def __init__(self, name: str, authenticated: Authenticated, agreement: Agreement, limits: Limits) -> None:
        self.stream = ResumableStream(
            authenticated.stream,
            unacknowledged=limits.unacknowledged,
            peer_unacknowledged=authenticated.peer_limits.unacknowledged,
            progress=limits.progress,
            patience=agreement.seconds,
            come_back=self.come_back,
        )
        self._name = name
        self._key = authenticated.key
        self._agreement = agreement
        self._limits = limits
        self._problem: SessionError | ConfigError
        """What was wrong with the last attempt."""
        self._attempts = 0

    async def come_back(self) -> None:
        """Make another connection, for as long as it takes.

        Raises what the server says of a session that has ended, and `UntrustedPeer` if its key is revoked by now.
        """
        began, stream, name = clock.now(), self.stream, self._name
        logger.info("the connection to %s is lost, and made anew: %s", name, stream.away_because)
        before = stream.sent_again
        for number, pause in enumerate(pauses(), 1):
            await self._rest(pause)
            if await self._attempt():
                break
            if number == 1:
                logger.info("%s can't be reached now: %s", name, self._problem)
        again, seconds = stream.sent_again - before, clock.now() - began
        logger.info("back at %s after %.1f s: %d bytes are sent again", name, seconds, again)

    async def _rest(self, seconds: float) -> None:
        """A pause, which is over when there is reason to believe that another attempt is worth while."""
        with anyio.move_on_after(seconds):
            await self.stream.wait_checked()

    @abstractmethod
    async def _attempt(self) -> bool:
        """Try once: whether the session is back; else `_problem` says why not. Raises why there is no way back."""


class Dialled(WayBack):
    """By connections that this process makes."""

    def __init__(
        self,
        dial: Callable[[], Dial],
        statics: Statics,
        vouching: Vouching,
        expected: Expected,
        authenticated: Authenticated,
        agreement: Agreement,
        limits: Limits,
    ) -> None:
        super().__init__(dial().name, authenticated, agreement, limits)
        self._dial = dial
        self._statics = statics
        self._vouching = vouching
        self._expected = expected

    async def _attempt(self) -> bool:
        """Try all addresses of the name."""
        seconds = self._limits.handshake
        self._problem = HandshakeTimeout(f"no answer within {seconds:g} s")
        dial = self._dial()
        async with within(seconds):
            if not await self._may_be_met():
                return False
            transport = await self._reach(dial)
            while transport is not None:
                try:
                    await self._return_over(transport)
                except TryFailed as exc:
                    # To the dial a wrong key is the end; here only one key is the right one.
                    transport = await self._reach(dial, HandshakeError(str(exc)))
                else:
                    return True
        return False

    async def _may_be_met(self) -> bool:
        """Whether the file of known peers can be read: it may have revoked the key. Raises `UntrustedPeer` if so."""
        try:
            await self._expected.check_again(self._vouching.presented)
        except ConfigError as exc:
            self._problem = exc
            return False
        return True

    async def _reach(self, dial: Dial, problem: SessionError | None = None) -> Transport | None:
        """The first connection, or the one after this problem; None if there is no other one."""
        try:
            return await (dial.reach() if problem is None else dial.reach_another(problem))
        except (SessionError, ConfigError) as exc:  # of the second sort, a file that says which directory to ask
            self._problem = exc
            return None

    async def _return_over(self, transport: ByteStream) -> None:
        """One connection. Raises `TryFailed`, or why there is no way back."""
        self._attempts += 1
        stream = self.stream
        try:
            returned = await return_as_client(
                transport, self._statics, self._admit, self._limits, self._agreement, self._attempts, stream.freeze
            )
            stream.attach(returned.connection, returned.received)
            if returned.presented.credential is not None:
                self._vouching.renew(returned.presented.credential)
        except BaseException:
            await close_at_once(transport)
            raise

    def _admit(self, presented: Presented) -> Grant:
        if presented.key != self._key:
            raise WrongPeer(self._key.fingerprint, presented.key.fingerprint)
        return Grant("", None)


def resumable(
    authenticated: Authenticated,
    dial: Callable[[], Dial],
    statics: Statics,
    expected: Expected,
    limits: Limits,
    vouching: Vouching,
) -> SecureStream:
    """The stream of a client's session: it outlives its connection, if the server has granted that."""
    agreement = authenticated.agreement
    if agreement is None:
        return authenticated.stream
    return Dialled(dial, statics, vouching, expected, authenticated, agreement, limits).stream
