"""The seam between a session and what is below it: a `SecureStream`.

A session knows nothing else of its connection. It is a `NoiseStream` (records with keys), or a `PlainStream` (any byte
stream, in tests); whatever stands between the two one day, such as a stream that outlives
its connection, is another one. Few calls are made for each read and each write, and none for a record, so that a layer
that only hands on costs nearly nothing (the bench row ``seam``).
"""

import math
import socket
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NoReturn

from anyio.abc import ByteStream, SocketAttribute

from chanlink import clock
from chanlink.bytes_like import Part
from chanlink.errors import (
    ConfigError,
    ConnectionLost,
    LocalProtocolError,
    PeerTimeout,
    RemoteProtocolError,
    SessionClosed,
    SessionError,
)
from chanlink.transport.base import BROKEN

ID_LABEL, ID_BYTES = "chanlink session id", 8
"""Of what a session's id is made (protocol section 3.6)."""
EarlyState = Literal["none", "taken", "sent again"]
UNDER_WAY = 16 * 1024 * 1024
"""Bytes that a peer may have sent before it reads our close record; one that sends more does not listen, and is cut
off."""


def farewell(cause: SessionError | None) -> tuple[str, str] | None:
    """Code and text of the close record; None where nobody can be told anything any more."""
    match cause:
        case SessionClosed():
            return cause.code, cause.text
        case RemoteProtocolError():
            return "protocol-error", str(cause)  # by now we know who it is: what it did wrong helps to find it
        case PeerTimeout():
            return "peer-timeout", str(cause)  # for one that was only stopped
        case LocalProtocolError():
            return "internal-error", ""
    return None


class SecureStream(ByteStream):
    """A byte stream that also says why it ends, sends without waiting where it can, and may have secrets.

    A connection that is gone is a `SessionError` everywhere, never an error of anyio's; `anyio.EndOfStream` is an
    orderly end. As for each byte stream, one task sends and one receives at a time.
    """

    # --- out ---

    @property
    @abstractmethod
    def can_send_now(self) -> bool:
        """Whether `send_now` may be called: it is possible at all, and nothing else is being sent."""

    @abstractmethod
    def send_now(self, parts: Iterable[Part]) -> bool:
        """As `send_parts`, but without waiting. False if not all has left: `has_output` is true then, and `send_parts`
        must be called for the rest."""

    @abstractmethod
    def has_output(self) -> bool:
        """Whether this stream has something to send besides data, or a rest: `send_parts` takes it along, if only of
        no parts."""

    @abstractmethod
    def on_output(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when `has_output` becomes true by itself: `send_parts` must be called then."""

    @abstractmethod
    async def send_parts(self, parts: Sequence[Part]) -> None:
        """As `send`, of bytes in parts, none of them empty."""

    @abstractmethod
    async def send_close(self, code: str, text: str = "") -> None:
        """Say why, as far as the stream can, and end this half of the connection."""

    async def finish(self) -> None:
        """After `send_close`, read and drop until the other side has ended, too: a reset could overtake what it did not
        read yet. Raises `SessionError` or `anyio.EndOfStream` when it is over."""
        dropped = 0
        while dropped < UNDER_WAY:
            dropped += len(await self.receive())

    @property
    @abstractmethod
    def sent_at(self) -> float:
        """When some of it left last (`clock`), since one `send_parts` takes long on a slow link; -inf if unknown."""

    # --- in ---

    @abstractmethod
    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        """Hand over what is received, all that one read brought at a time. Raises as `receive`, or what `take` raises.

        It need not be this task that calls ``take``: on asyncio, the event loop may.
        """

    @property
    @abstractmethod
    def peer_close(self) -> tuple[str, str]:
        """Code and text that the peer ended with, after `anyio.EndOfStream`; empty until then, or without words."""

    # --- about the peer and the connection ---

    early: EarlyState = "none"
    """What became of data in the first message of the handshake."""

    @property
    def is_live(self) -> bool:
        """Whether the peer is known to be there; else what has come may be a recording."""
        return True

    def on_live(self, went_live: Callable[[], None]) -> None:
        """Have ``went_live`` called when `is_live` becomes true."""

    def show_credential(self, blob: bytes) -> None:
        """Show the peer a newer credential of this side, if it knows of that, and there is a connection."""

    def on_credential(self, take: Callable[[bytes], None]) -> None:
        """Have ``take`` called with each credential that the peer shows, as it came."""

    def clock(self) -> float:
        """The time of everything above: it stands still while nothing could come."""
        return clock.now()

    # --- what outlives its connection ---

    keeps = False
    """Whether `keep` has something to do."""
    is_away = False
    """Whether it is between two connections."""
    away_because: SessionError | None = None
    """Why it was away last, if ever."""
    sent_again = 0
    """Bytes that had to be sent again."""

    @property
    def settled(self) -> bool:
        """Whether the other side is known to have all that was sent, where that can be known."""
        return True

    async def keep(self) -> None:
        """Look after the stream for as long as it is used, its end included."""

    def on_state(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, too, when `is_away` has changed."""

    def survives(self, problem: SessionError) -> bool:
        """Give up the connection for a problem of its: whether the stream goes on without."""
        return False

    def check(self) -> None:
        """There is reason to doubt that the connection is there: expect an answer soon."""

    # --- the connection ---

    @abstractmethod
    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        """Raises `SessionError` when the peer owes something to this stream for too long; ``overdue`` says whether that
        is its fault."""

    @abstractmethod
    def peer_acknowledges(self, seconds: float) -> bool:
        """Whether the peer's machine is known to be there, having acknowledged something within this many seconds."""

    @abstractmethod
    def export(self, label: str, length: int) -> bytes:
        """A further secret of the two sides. Raises `ValueError` where there are none."""

    @property
    def id(self) -> str:
        """The same on both sides, and of no other session; no secret. Empty where there is nothing to make one of."""
        try:
            return self.export(ID_LABEL, ID_BYTES).hex()
        except ValueError:
            return ""

    @property
    @abstractmethod
    def suite(self) -> str:
        """The name of the record suite; empty without one."""

    @property
    def epoch(self) -> int:
        """How many times the keys were made anew; 0 where there are none."""
        return 0

    @property
    @abstractmethod
    def volume(self) -> int:
        """Bytes of both directions until now, as they are on the wire; 0 if nobody counts them."""


class PlainStream(SecureStream):
    """Over any byte stream of this machine, for tests: no secrets, no words at the end, and nothing without waiting."""

    peer_close = ("", "")
    can_send_now = False
    sent_at = -math.inf
    suite = ""
    volume = 0

    def __init__(self, below: ByteStream) -> None:
        family = below.extra(SocketAttribute.family, None)
        if family is not None and family != getattr(socket, "AF_UNIX", None):
            raise ConfigError(
                "a session in the clear does not go over a network, also within another protocol: anybody could be at"
                " the other end; chanlink.connect and chanlink.accept are secure over any byte stream"
            )
        self._below = below

    def send_now(self, parts: Iterable[Part]) -> bool:
        raise LocalProtocolError("nothing can be sent here without waiting: see can_send_now")

    def has_output(self) -> bool:
        return False

    def on_output(self, wake: Callable[[], None]) -> None:
        pass  # that never is

    async def send(self, item: bytes) -> None:
        try:
            await self._below.send(item)
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc

    async def send_parts(self, parts: Sequence[Part]) -> None:
        if parts:
            await self.send(b"".join(parts))

    async def send_close(self, code: str, text: str = "") -> None:
        try:
            await self._below.send_eof()
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc

    async def send_eof(self) -> None:
        await self.send_close("")

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        try:
            return await self._below.receive(max_bytes)
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc

    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        while True:
            take([await self.receive()])

    async def aclose(self) -> None:
        await self._below.aclose()

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        pass

    def peer_acknowledges(self, seconds: float) -> bool:
        return False

    def export(self, label: str, length: int) -> bytes:
        raise ValueError("a byte stream without a handshake has no secrets")

    @property
    def extra_attributes(self) -> Any:
        return self._below.extra_attributes
