"""What remains of a handshake is a `NoiseStream`, an encrypted byte stream (protocol section 3).

It *is* an `anyio.abc.ByteStream`, as anyio's `TLSStream` is, over any other one, and everything above it sees nothing
else. What becomes records, and what of them, is the business of `records`; the keys, and when they are renewed, of
`rekey.RecordKeys`. The reader never writes: what the renewal of keys has to say waits for the next `send`, and
`on_output` says when.
"""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import anyio
import msgpack
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from chanlink import clock
from chanlink.bytes_like import Part, as_bytes
from chanlink.errors import MAX_CODE, ConnectionLost
from chanlink.forks import forget_in_child
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.base import BROKEN, as_transport

from .buffers import Buffers
from .records import CLOSE, RecordReader, RecordWriter
from .rekey import FORGOTTEN, RecordKeys, Secrets
from .stream import SecureStream


class NoiseStream(SecureStream):
    """An encrypted and authenticated byte stream over another one.

    `receive` returns the body of one record, at most 65,518 bytes. It raises `anyio.EndOfStream` only after the
    peer's close record (what that said is in `peer_close`), `ConnectionLost` at any other end, and
    `RemoteProtocolError` for a record that is not the peer's next one; nothing after it is delivered. On a client that
    did not wait for the welcome, whatever comes in its place is a `HandshakeError`.
    """

    def __init__(self, transport: ByteStream, keys: RecordKeys, secrets: Secrets, buffers: Buffers) -> None:
        self._transport = as_transport(transport)
        self._keys = keys
        self._secrets = secrets.without_keys()  # of epoch 0, to derive others from
        self._writer = RecordWriter(keys, buffers.sealed)
        self._reader = RecordReader(keys, buffers.arrived)
        self._in_send = False
        self._unsent: bytes | memoryview = b""  # of records, after `send_now`
        self._closed = False
        self._wake_writer: Callable[[], None] = lambda: None
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the session is the parent's, and every use of this one is a `ConnectionLost`."""
        self._keys.forget()
        self._secrets = FORGOTTEN
        self._unsent = b""
        self._writer.forget()

    # --- out ---

    async def send(self, item: bytes | bytearray) -> None:
        """Send bytes in as few records as possible. Raises `ConnectionLost`; a cancelled `send` was the last.

        What the renewal of keys has to say goes first; `send` of nothing sends just that.
        """
        data = as_bytes(item)
        await self.send_parts([data] if data else [])

    async def send_parts(self, parts: Iterable[Part]) -> None:
        self._check_send()
        self._in_send = True
        if self._unsent:
            await self._transmit(self._unsent)
            self._unsent = b""
        self._writer.add(parts)
        while True:
            await self._transmit(self._writer.seal_some(clock.now()))
            if not self._writer.has_more:
                break
            await checkpoint()
        self._in_send = False

    @property
    def can_send_now(self) -> bool:
        return not (self._in_send or self._closed or self._unsent)

    def send_now(self, parts: Iterable[Part]) -> bool:
        self._keys.check()
        self._writer.add(parts)
        while True:
            sealed = self._writer.seal_some(clock.now())
            sent = self._send_now(sealed)
            if sent < len(sealed):
                self._unsent = bytes(sealed[sent:])
                return False
            if not self._writer.has_more:
                return True

    def _check_send(self) -> None:
        if self._in_send or self._closed:
            # A send that was cancelled half-way has left a part of a record: nothing can follow it.
            raise ConnectionLost("the connection was closed on this side")
        self._keys.check()

    async def _transmit(self, sealed: bytes | memoryview) -> None:
        """Send records. The buffer that they are in is others' as soon as this task waits."""
        sent = self._send_now(sealed)
        if sent < len(sealed):
            try:
                await self._transport.send(bytes(sealed[sent:]))
            except BROKEN as exc:
                raise ConnectionLost("the connection broke") from exc

    def _send_now(self, sealed: bytes | memoryview) -> int:
        """Send of records what needs no waiting: how many bytes."""
        try:
            return self._transport.send_now(sealed) if sealed else 0
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc

    @property
    def sent_at(self) -> float:
        return self._transport.sent_at

    def has_output(self) -> bool:
        return bool(self._unsent) or self._has_rekey() or self._writer.has_more

    def _has_rekey(self) -> bool:
        """Whether the renewal of keys has something to say."""
        return self._keys.has_record(clock.now()) and not self._writer.closed

    def on_output(self, wake: Callable[[], None]) -> None:
        self._wake_writer = wake

    def begin_epoch(self) -> None:
        """Have the next record begin a new epoch: somebody else may have the keys of this one."""
        self._keys.begin_epoch()
        self._wake_writer()

    async def send_record(self, kind: int, body: bytes) -> None:
        """Send one record."""
        self._check_send()
        self._writer.add_record(kind, body)
        await self.send_parts([])

    def acknowledge(self, count: int) -> None:
        """Have this count leave with the next send, before data that waits."""
        self._writer.acknowledge(count)

    def show_credential(self, blob: bytes) -> None:
        if self._keys.may_show and not (self._closed or self._writer.closed):
            self._writer.show(blob)
            self._wake_writer()

    def add_close(self, code: str, text: str = "") -> None:
        """Have the close record leave with the next send, behind data; this half of the connection goes on."""
        self._writer.add_record(CLOSE, _close(code, text))

    async def send_close(self, code: str, text: str = "") -> None:
        """Send the close record and end this half of the connection."""
        await self.send_record(CLOSE, _close(code, text))
        self._closed = True
        try:
            await self._transport.send_eof()
        except (*BROKEN, OSError, RuntimeError) as exc:  # uvloop's transports raise RuntimeError after a reset
            raise ConnectionLost("the connection broke") from exc

    async def send_eof(self) -> None:
        """The ordinary close of what this side sends."""
        if not self._closed:
            await self.send_close("")

    async def aclose(self) -> None:
        """Say goodbye if that was not done, and close the connection.

        One that carries a part of a session only is closed without a word.
        """
        try:
            if not (self._closed or self._in_send or self._reader.counts):
                await checkpoint_if_cancelled()  # a stream that is closed forcefully says nothing
                await self.send_close("")
        except ConnectionLost:
            pass  # nobody is there to hear it
        finally:
            await self._transport.aclose()

    def close_now(self) -> bool:
        """As the `Transport` below: without a word, if that needs no waiting."""
        return self._transport.close_now()

    # --- in ---

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes is at least 1")
        while not self._reader.bodies:
            await self._receive_more()
        bodies = self._reader.bodies
        body = bodies.popleft()
        if len(body) > max_bytes:
            bodies.appendleft(body[max_bytes:])
            return body[:max_bytes]
        return body

    async def receive_all(
        self, take: Callable[[Iterable[bytes]], None], news: Callable[[], None] = lambda: None
    ) -> NoReturn:
        """As a `SecureStream`; ``news`` is called behind data when `take_count` or `peer_ended` have something new."""
        reader = self._reader

        def look() -> None:
            self._read()
            self._hand_up(take, news)
            self._check_receive()

        self._hand_up(take, news)
        self._check_receive()
        try:
            await self._transport.each_time_readable(look)
        except BROKEN as exc:  # it was closed
            raise reader.lost() from exc

    async def receive_some(self, take: Callable[[Iterable[bytes]], None], news: Callable[[], None]) -> None:
        """As `receive_all`, for one read."""
        if not (self._reader.bodies or self._reader.has_news):
            await self._receive_more()
        self._hand_up(take, news)

    def _hand_up(self, take: Callable[[Iterable[bytes]], None], news: Callable[[], None]) -> None:
        reader = self._reader
        if reader.bodies:
            take(reader.take_all())
        if reader.has_news:
            reader.forget_news()
            news()

    async def _receive_more(self) -> None:
        """Wait for something, and open all records that are whole then."""
        self._check_receive()
        try:
            await self._transport.wait_readable()
        except BROKEN as exc:
            raise self._reader.lost() from exc
        self._read()
        self._ask_for_writer()

    def _read(self) -> None:
        """Open what has arrived, as far as records are whole."""
        try:
            size = self._transport.receive_now(self._reader.space())
        except BROKEN as exc:
            raise self._reader.lost() from exc
        if size is not None:
            if size == 0:
                raise self._reader.lost()
            self._reader.filled(size, clock.now())

    def _check_receive(self) -> None:
        """Whether there can be more; this side may also have to renew keys, though it has nothing else to send."""
        if self._reader.problem is not None:
            raise self._reader.problem.again()
        if self._reader.ended and not self._reader.counts:
            raise anyio.EndOfStream
        try:
            self._keys.check()
        except ConnectionLost as exc:
            raise self._reader.fail(exc) from None
        self._ask_for_writer()

    def _ask_for_writer(self) -> None:
        if not self._closed and self._has_rekey():
            self._wake_writer()

    def expect_welcome(self, identity: PublicKey, *, resumes: bool = False, unshown: str = "") -> None:
        """The first record must be the server's welcome of this identity. If this side ``resumes`` something, or has
        asked for that, counts may come behind it. ``unshown`` says what could not vouch for the identity, and why."""
        self._reader.expect_welcome(identity, resumes=resumes, unshown=unshown)

    async def receive_welcome(self) -> None:
        """Wait for the welcome. Raises `UntrustedPeer` or `SessionClosed` when it is a refusal."""
        while self._reader.awaits_welcome:
            await self._receive_more()
        if self._reader.problem is not None:
            raise self._reader.problem.again()

    @property
    def welcome(self) -> dict[str, Any]:
        """What the server has said in its welcome, also in one that refuses us."""
        return self._reader.welcome

    def on_credential(self, take: Callable[[bytes], None]) -> None:
        self._keys.on_credential(take)

    # --- one connection of several (protocol section 3.7) ---

    @property
    def has_rest(self) -> bool:
        """Whether `send_now` could not send all."""
        return bool(self._unsent)

    @property
    def can_wait(self) -> bool:
        """Whether the rest may be sent by `wait_to_send` and `send_rest_now`, which can be cancelled."""
        return self._transport.waits_writable

    async def wait_to_send(self) -> None:
        """Wait until `send_rest_now` should be tried."""
        try:
            await self._transport.wait_writable()
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc

    def send_rest_now(self) -> bool:
        """Send of the rest what needs no waiting: whether there is none now."""
        self._unsent = memoryview(self._unsent)[self._send_now(self._unsent) :]
        return not self._unsent

    def expect_counts(self) -> None:
        """The peer may say what it has received, also behind its close record: this stream does not end at that."""
        self._reader.expect_counts()

    def take_count(self) -> int | None:
        """What the peer has received, if it has said so since the last call."""
        return self._reader.take_count()

    @property
    def peer_ended(self) -> bool:
        """Whether the peer's close record has come."""
        return self._reader.ended

    @property
    def is_forged(self) -> bool:
        """Whether a record came that does not open: that says nothing of the peer."""
        return self._reader.is_forged

    @property
    def secrets(self) -> Secrets:
        """What `export` makes others of."""
        return self._secrets

    # --- about the peer and the connection ---

    @property
    def peer_close(self) -> tuple[str, str]:
        return self._reader.peer_close

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        try:
            self._keys.check_time(overdue)
        except ConnectionLost as exc:
            raise self._reader.fail(exc) from None

    def peer_acknowledges(self, seconds: float) -> bool:
        return self._transport.peer_acknowledges(seconds)

    def export(self, label: str, length: int) -> bytes:
        return self._secrets.export(label, length)

    @property
    def handshake_hash(self) -> bytes:
        """Of the handshake, and of no other one."""
        return self._secrets.h

    @property
    def suite(self) -> str:
        return self._keys.suite.name

    @property
    def epoch(self) -> int:
        return self._keys.epoch

    @property
    def volume(self) -> int:
        return self._keys.volume

    @property
    def extra_attributes(self) -> Any:
        return self._transport.extra_attributes


def _close(code: str, text: str) -> bytes:
    """The body of a close record."""
    body: bytes = msgpack.packb({"code": code[:MAX_CODE], "text": text[:256]})
    return body
