"""`EarlyStream`: a client's stream whose first data leaves in the first message of the handshake.

The handshake needs the data, so it can't be over before there is a session. What is sent is collected, until somebody
is about to wait for an answer, or for a moment; then message 1 leaves with it. Whoever sends more waits for message 2,
which the reader takes. From then on all of it is the business of the `NoiseStream` that comes of it (protocol section
2.4).

    collecting --- send_now, or a moment has passed ---> asked --- message 2 ---> open
                                                           |  --- declined ---> the ordinary handshake ---> open
                                                           |  --- anything else ---> over

The data is sent again where the server has declined it, and nowhere else: it may have arrived.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import anyio
from anyio.abc import ByteStream

from chanlink.bytes_like import Part
from chanlink.errors import ConnectionLost, HandshakeError, HandshakeTimeout, SessionError
from chanlink.forks import forget_in_child
from chanlink.limits import PeerLimits
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.transport.base import BROKEN, as_transport

from .early_client import EarlyHandshake
from .hello import MAX_HANDSHAKE_MESSAGE, receive_prefixed
from .noise_stream import NoiseStream
from .records import DATA
from .rekey import FORKED
from .stream import SecureStream

LINGER = 0.005
"""Seconds for which data is collected that nobody waits for."""


class Begun(NamedTuple):
    """What a handshake by a prekey gives before there was any: as `Authenticated`, of the server that is expected."""

    stream: "EarlyStream"
    key: PublicKey
    peer_limits: PeerLimits
    grant: Grant
    round_trip: float
    features: frozenset[str]
    service: str = ""

    @property
    def presented(self) -> Presented:
        """What is known of the server: its key, since a prekey has nothing else."""
        return Presented(self.key)


class EarlyStream(SecureStream):
    """See above. Until there is an answer, whatever goes wrong is an error of the handshake.

    Whole: the face of a stream, most of which hands on to the one below.
    """

    def __init__(self, transport: ByteStream, handshake: EarlyHandshake, patience: float) -> None:
        """The answer has to come within ``patience`` seconds after message 1."""
        self._transport = as_transport(transport)
        self._handshake = handshake
        self._patience = patience
        self._first: list[bytes] = []  # kept until there is an answer
        self._is_due = False
        self._asked = anyio.Event()
        self._unsent = b""  # of message 1
        self._waits_to_send = False
        """Whether somebody has data that goes next, as soon as there is an answer: nothing may overtake it."""
        self._answered = anyio.Event()
        self._open: NoiseStream | None = None
        self._problem: SessionError | None = None
        self._prekey = b""
        self._wake: Callable[[], None] = lambda: None
        self._take_credential: Callable[[bytes], None] = lambda blob: None
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the session is the parent's."""
        self._first.clear()
        self._unsent = b""
        self._problem = self._problem or ConnectionLost(FORKED)

    @property
    def next_prekey(self) -> bytes:
        """One for the next connection, in the place of the one that was used; empty if the server has given none."""
        said: bytes = self._prekey or (self._open.welcome.get("prekey", b"") if self._open is not None else b"")
        return said

    # --- out ---

    @property
    def can_send_now(self) -> bool:
        if self._open is not None:
            return self._open.can_send_now and not self._waits_to_send
        return not self._asked.is_set() and self._problem is None

    def send_now(self, parts: Iterable[Part]) -> bool:
        if self._open is not None:
            return self._open.send_now(parts)
        self._first += map(bytes, parts)
        message = self._ask()
        try:
            sent = self._transport.send_now(message)
        except BROKEN as exc:
            raise self._broke() from exc
        self._unsent = message[sent:]
        return not self._unsent

    async def send(self, item: bytes) -> None:
        await self.send_parts([item] if item else [])

    async def send_parts(self, parts: Sequence[Part]) -> None:
        if self._open is None and not self._asked.is_set():
            self._first += map(bytes, parts)
            if not await self._is_time(idle=not parts):
                return
            parts = []
        if self._unsent:
            await self._send_rest()
        self._waits_to_send = bool(parts)
        await self._answered.wait()
        self._waits_to_send = False
        await self._opened().send_parts(parts)

    async def _is_time(self, *, idle: bool) -> bool:
        """Whether message 1 has left, or leaves now. Who is idle waits for a moment, in which there may be more."""
        self._check()
        if not self._is_due and sum(map(len, self._first)) < self._handshake.room:
            if not idle:
                return False
            with anyio.move_on_after(LINGER):
                await self._asked.wait()
            self._is_due = True  # with what there is by now
            return self._asked.is_set()
        self._unsent = self._ask()
        return True

    def _ask(self) -> bytes:
        """What a client begins with: as much of the data as there is room for, and the rest is kept."""
        self._check()
        data = b"".join(self._first)
        self._first = [data]
        message = self._handshake.first(data[: self._handshake.room])
        self._asked.set()
        return message

    async def _send_rest(self) -> None:
        message, self._unsent = self._unsent, b""
        try:
            await self._transport.send(message)
        except BROKEN as exc:
            raise self._broke() from exc

    def _broke(self) -> SessionError:
        return self._fail(HandshakeError("the connection broke in the handshake"))

    def has_output(self) -> bool:
        """Until there is an answer the writer has to come, and to wait for it: nothing has left before that."""
        return self._open.has_output() if self._open is not None else self._problem is None

    def on_output(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    async def send_close(self, code: str, text: str = "") -> None:
        await self._opened().send_close(code, text)

    async def send_eof(self) -> None:
        await self._opened().send_eof()

    async def aclose(self) -> None:
        await (self._open or self._transport).aclose()

    @property
    def sent_at(self) -> float:
        return self._open.sent_at if self._open is not None else self._transport.sent_at

    # --- the handshake ---

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem.again()

    def _opened(self) -> NoiseStream:
        """What has come of the handshake. Raises what went wrong."""
        self._check()
        if self._open is None:
            raise ConnectionLost("the session has ended before its handshake did")
        return self._open

    def _fail(self, exc: SessionError) -> SessionError:
        self._problem = self._problem or exc
        self._answered.set()
        return exc

    async def _finish(self) -> NoiseStream:
        """Wait for the answer, and send what it leaves to be sent. Raises the problem."""
        if self._open is not None:
            return self._open
        await self._asked.wait()
        try:
            with anyio.move_on_after(self._patience):
                stream, data = await self._receive_answer()
                await stream.send_parts([data] if data else [])
                self._opens(stream)
                return stream
        except SessionError as exc:
            raise self._fail(exc) from exc.__cause__
        raise self._fail(HandshakeTimeout(f"the handshake did not end within {self._patience:g} s"))

    async def _receive_answer(self) -> tuple[NoiseStream, bytes]:
        """What comes of it, and the data that did not leave in message 1, or has to be sent again."""
        (data,) = self._first
        try:
            message = await receive_prefixed(self._transport, MAX_HANDSHAKE_MESSAGE)
        except HandshakeError as exc:
            if exc.__cause__ is None:  # it has said something
                raise
            text = "the server closed the connection instead of an answer; what was sent at once may have arrived"
            raise HandshakeError(text, code="no-answer") from exc.__cause__
        if not message:
            stream = await self._handshake.begin_again(self._transport)
            self.early = "sent again"
            return stream, data
        stream, self._prekey = self._handshake.read_answer(self._transport, message)
        self.early = "taken"
        await stream.send_record(DATA, b"")  # at once: only the client of this moment can
        return stream, data[self._handshake.room :]

    def _opens(self, stream: NoiseStream) -> None:
        stream.on_output(self._wake)
        stream.on_credential(self._take_credential)
        self._first.clear()
        self._open = stream
        self._answered.set()
        self._wake()

    # --- in ---

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        return await (await self._finish()).receive(max_bytes)

    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        await (await self._finish()).receive_all(take)

    @property
    def peer_close(self) -> tuple[str, str]:
        return self._open.peer_close if self._open is not None else ("", "")

    # --- about the peer and the connection ---

    def show_credential(self, blob: bytes) -> None:
        if self._open is not None:
            self._open.show_credential(blob)

    def on_credential(self, take: Callable[[bytes], None]) -> None:
        self._take_credential = take

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        if self._open is not None:
            self._open.check_time(overdue)

    def peer_acknowledges(self, seconds: float) -> bool:
        return self._transport.peer_acknowledges(seconds)

    def export(self, label: str, length: int) -> bytes:
        """As of any stream. Raises `ValueError` before there is an answer."""
        if self._open is None:
            raise ValueError("the secrets of a session come with the server's answer")
        return self._open.export(label, length)

    @property
    def suite(self) -> str:
        """The name of the record suite; empty before there is an answer."""
        return self._open.suite if self._open is not None else ""

    @property
    def epoch(self) -> int:
        return self._open.epoch if self._open is not None else 0

    @property
    def volume(self) -> int:
        return self._open.volume if self._open is not None else 0

    @property
    def extra_attributes(self) -> Any:
        return self._transport.extra_attributes
