"""The real thing beside the model: three sites, the sessions between them, and tasks that send and receive.

Each operation of chanlink is called in a task of its own (`World.begin`), which may still wait when the next step
comes, and may be cancelled. The task tells the model what came of it.
"""

import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

import anyio
from anyio import CancelScope
from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

import chanlink
from chanlink.testing import session_pair
from tests.security.wires import sealed_pair

from . import model
from .model import End, Flow, Line, Message, Wrong, check, outcome

PAIRS = (("A", "R"), ("R", "B"), ("A", "B"))
TURNS = 60
"""After this many turns of the event loop everything has come to rest, also over some relays."""
STEP = 7_919
"""A prime: byte number n of a flow says where it belongs."""


def data(position: int, size: int) -> bytes:
    """What a byte stream carries at a position: doubled or lost bytes don't fit there."""
    first = position // 8
    words = b"".join(
        (index * STEP & 0xFFFF_FFFF_FFFF).to_bytes(8, "big") for index in range(first, first + size // 8 + 2)
    )
    return words[position % 8 : position % 8 + size]


class Errors(logging.Handler):
    """chanlink logs an error when something happened in it that must not."""

    def __init__(self, found: Callable[[BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found(Wrong(f"chanlink logged: {record.getMessage()} {record.exc_info and record.exc_info[1]!r}"))


class Wait:
    """A task in an operation."""

    def __init__(self) -> None:
        self.scope = CancelScope()


class Sealing:
    """Connections of sockets with records on them, in the place of byte streams in memory."""

    def __init__(self) -> None:
        self._streams = list(sealed_pair())

    def __call__(self, stream: Any) -> AnyByteStream:
        stream.close()
        return self._streams.pop(0)


class World:
    """Sites A, R and B, with a session between any two of them."""

    def __init__(self, tasks: TaskGroup, *, sealed: bool) -> None:
        self.tasks = tasks
        self._sealed = sealed
        self.lines: list[Line] = []
        self.ends: list[End] = []
        """Those that are held or move."""
        self.flows: list[Flow] = []
        self.messages: dict[int, Message] = {}
        self.problem: BaseException | None = None
        self.counts: Counter[str] = Counter()
        self._over = anyio.Event()
        self._alive = 0
        self._number = 0

    async def __aenter__(self) -> Self:
        self._log = Errors(self.found)
        logging.getLogger("chanlink").addHandler(self._log)
        for pair in PAIRS:
            await self.connect(pair)
        return self

    async def __aexit__(self, *exc: object) -> None:
        logging.getLogger("chanlink").removeHandler(self._log)
        for end in self.ends:
            for wait in list(end.waits.values()):
                wait.scope.cancel()
        if any(exc):
            for line in self.lines:
                for session in line.sessions.values():
                    session.abort()
        self._over.set()

    def number(self) -> int:
        self._number += 1
        return self._number

    def found(self, problem: BaseException) -> None:
        self.problem = self.problem or problem

    def look(self) -> None:
        if self.problem is not None:
            raise self.problem

    async def turns(self, count: int = TURNS) -> None:
        for _ in range(count):
            await checkpoint()
        self.look()

    # --- sessions ---------------------------------------------------------------------------------

    async def connect(self, pair: tuple[str, str]) -> None:
        line, ready = Line(pair), anyio.Event()
        line.opened = {site: [] for site in pair}
        self.tasks.start_soon(self._live, line, ready)
        await ready.wait()
        self.lines.append(line)

    async def _live(self, line: Line, ready: anyio.Event) -> None:
        self._alive += 1
        async with session_pair(wire=Sealing() if self._sealed else None) as sessions:
            line.sessions = dict(zip(line.sites, sessions, strict=True))
            ready.set()
            await self._over.wait()
        self._alive -= 1

    def living(self) -> list[Line]:
        return [line for line in self.lines if not line.dead]

    # --- operations -------------------------------------------------------------------------------

    def begin(self, end: End, name: str, act: Callable[[Wait], Awaitable[None]]) -> Wait:
        wait = end.waits[name] = Wait()
        self.tasks.start_soon(self._do, end, name, act, wait)
        return wait

    async def _do(self, end: End, name: str, act: Callable[[Wait], Awaitable[None]], wait: Wait) -> None:
        try:
            with wait.scope:
                await act(wait)
        except BaseException as exc:
            if not isinstance(exc, Exception):
                raise
            self.found(exc)
        finally:
            if end.waits.get(name) is wait:
                del end.waits[name]

    def new(self, kind: Any, site: str, handle: Any, *, out: Flow | None = None, into: Flow | None = None) -> End:
        end = End(self.number(), kind, site, out, into, handle)
        self.ends.append(end)
        if out is not None:
            out.senders.append(end)
        if into is not None:
            into.receiver = end
            self.flows.append(into)
        return end

    # --- sending ----------------------------------------------------------------------------------

    def offer(self, sender: End, ends: list[End]) -> Message:
        assert sender.out is not None
        message = Message(self.number(), sender, ends, sender.lines, bool(sender.lines | sender.out.receiver.lines))
        self.messages[message.number] = message
        sender.messages.append(message)
        for end in ends:
            end.carrier = message
        return message

    def committed(self, message: Message) -> None:
        """It was accepted: its ends move."""
        if message.state not in ("offered", "perhaps"):
            return
        message.state = "accepted"
        self.counts["messages accepted"] += 1
        for end in message.ends:
            if end.state == "held":  # (else it was closed in the last moment; chanlink would have said so)
                check(end.handle.is_void, "an end did not move", end, message)
                end.state, end.handle = "moving", None
                self.counts["ends sent"] += 1

    def reconcile(self) -> None:
        """A rendezvous over a session that has not returned may have sent its ends: their handles tell."""
        for sender in self.ends:
            for message in sender.messages[-1:]:
                if message.state == "offered" and any(
                    one.state == "held" and one.handle.is_void for one in message.ends
                ):
                    self.committed(message)

    def not_sent(self, message: Message, *, perhaps: bool = False) -> None:
        """It was not accepted, unless it was a rendezvous that waits for the far side: its ends tell."""
        if message.state != "offered":
            return
        if perhaps and any(end.state == "held" and end.handle.is_void for end in message.ends):
            self.committed(message)
            return
        message.state = "perhaps" if perhaps and not message.ends else "void"
        for end in message.ends:
            end.carrier = None
            if end.state == "held":
                check(not end.handle.is_void, "an end was lost in a message that was not sent", end, message)

    async def send(self, message: Message, value: Any, handle: Any, *, wait: bool) -> None:
        sender = message.sender
        assert sender.out is not None
        perhaps = sender.out.capacity == 0
        try:
            await handle.send(value) if wait else handle.send_nowait(value)
        except chanlink.ChannelClosed:
            self.not_sent(message, perhaps=perhaps)
            check(any(one.is_void for one in (handle, *value["ends"])), "`ChannelClosed`, but all are open", message)
        except chanlink.ChannelBroken as exc:
            self.not_sent(message, perhaps=perhaps)
            self.sending_over(sender, handle, exc)
        except anyio.WouldBlock:
            self.not_sent(message)
        except BaseException as exc:
            self.not_sent(message, perhaps=perhaps and not isinstance(exc, Exception))
            self.counts["sends cancelled"] += not isinstance(exc, Exception)
            raise
        else:
            self.committed(message)
            if perhaps and wait and message.crosses:
                check(message.state == "received", "a rendezvous without a receiver", message)

    def sending_over(self, sender: End, handle: Any, exc: BaseException) -> None:
        """What a sender was told; `handle` is that of the call, which may have moved since then."""
        assert sender.out is not None
        self.reconcile()
        seen = outcome(exc)
        self.counts[f"a sender saw {seen.kind} {seen.code.strip('0123456789')}"] += 1
        if isinstance(exc, chanlink.SessionLost) and sender.kind == "sender":
            check(exc.taken <= sender.out.received, "lost, with more taken than received", sender, exc.taken)
        model.check_sending_over(sender, seen, sticks=not handle.is_void)

    async def write(self, end: End, handle: Any, size: int) -> None:
        flow = end.out
        assert flow is not None
        piece = data(len(flow.written), size)
        try:
            await handle.send(piece)
        except chanlink.ChannelClosed:
            check(handle.is_void or end.sends_over, "`ChannelClosed` of a stream that is open", end)
        except chanlink.ChannelBroken as exc:
            self.sending_over(end, handle, exc)
        else:
            flow.written += piece

    async def watch(self, sender: End, handle: Any) -> None:
        """`wait_closed`: what a sender sees that does nothing."""
        try:
            exc = await handle.wait_closed()
        except chanlink.ChannelClosed:
            check(handle.is_void, "`ChannelClosed` of an end that is open", sender)
        else:
            self.sending_over(sender, handle, exc)

    async def flush(self, sender: End, handle: Any) -> None:
        before = [one for one in sender.messages[sender.base :] if one.state in ("accepted", "received")]
        assert sender.out is not None
        try:
            await handle.flush()
        except chanlink.ChannelMoved:
            check(handle.is_void, "moved, but it is here", sender)
        except chanlink.ChannelBroken as exc:
            self.sending_over(sender, handle, exc)
        else:
            self.counts["flushed"] += 1
            missing = [message for message in before if message.state != "received"]
            if sender.out.capacity == 0 and "receive" in sender.out.receiver.waits:
                del missing[:1]  # a task that has been given a message in memory may not have run yet
            check(not missing, "flushed, but not received", sender, *missing)
            check(handle.taken >= len(before), "flushed, but `taken` is less", sender, handle.taken, len(before))

    # --- receiving --------------------------------------------------------------------------------

    async def receive(self, receiver: End, handle: Any, *, wait: bool = True, limit: int = 0) -> None:
        try:
            if limit:
                item = await handle.receive(limit)
            else:
                item = await handle.receive() if wait else handle.receive_nowait()
        except chanlink.ChannelClosed:
            check(handle.is_void, "`ChannelClosed` of an end that is open", receiver)
        except chanlink.ChannelError as exc:
            seen = outcome(exc)
            self.counts[f"a receiver saw {seen.kind} {seen.code.strip('0123456789')}"] += 1
            self._check_taken(receiver, exc)
            self.reconcile()
            model.check_reading_over(receiver, seen)
        except anyio.WouldBlock:
            pass
        else:
            self.received(receiver, item)

    def _check_taken(self, receiver: End, exc: BaseException) -> None:
        if isinstance(exc, chanlink.SessionLost) and receiver.kind == "receiver":
            assert receiver.into is not None
            check(exc.taken <= receiver.into.received, "lost, with more taken than received", receiver, exc.taken)

    def received(self, receiver: End, item: Any) -> None:
        flow = receiver.into
        assert flow is not None
        check(receiver.saw_reading is None, "received after the end", receiver, receiver.saw_reading)
        if receiver.kind == "bytes":
            check(item == flow.written[flow.read : flow.read + len(item)], "other bytes than were sent", receiver)
            flow.read += len(item)
            self.counts["bytes received"] += len(item)
            return
        message = self.messages[item["n"]]
        model.check_received(receiver, message)
        self.committed(message)
        message.state = "received"
        flow.received += 1
        self.counts["messages received"] += 1
        check(len(item["ends"]) == len(message.ends), "other ends than were sent", message)
        for end, handle in zip(message.ends, item["ends"], strict=True):
            self._arrived(end, receiver, handle)

    def _arrived(self, end: End, receiver: End, handle: Any) -> None:
        crossed = end.crosses() - end.lines
        way = ((end.carrier and end.carrier.crossed) or frozenset()) | receiver.lines
        check(end.state == "moving", "an end arrived that was not sent", end)
        self.counts["ends received"] += 1
        self.counts["ends that go on by a relay"] += bool(end.lines and way)
        end.handle, end.site, end.state = handle, receiver.site, "held"
        end.moved = True
        if way:
            end.base = len(end.messages)
            end.saw_sending = end.saw_reading = None  # a loss is told in other words beyond a relay
        end.lines |= crossed
        self.ends.remove(end)
        self.ends.append(end)
        end.carrier = None

    # --- the end ----------------------------------------------------------------------------------

    def gone(self, end: End) -> None:
        end.state, end.handle = "gone", None

    async def collect(self) -> None:
        gc.collect()
        await self.turns(5)
