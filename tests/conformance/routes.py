"""The eleven routes that every behaviour runs over, and one way to use them.

A route is an async context manager that gives `Places`: two of them, **near** and **far**, and ways to make
channels and byte streams between them.

    memory                 both places are one; a channel is a `chanlink.pipe`
    memory_codec           the same, but what is sent is first encoded and decoded, with its ends kept. Nothing stands
                           between the two ends, so that every promise can be tried
    session                two sessions joined in memory
    tcp, unix              `listen` and `connect`, with identities, over real sockets
    ws                     the same, by WebSocket
    resumed                the same, over connections of which each is cut after a moment: the session goes on
    vouched                the same as tcp, and each side knows the other by what an authority says of it
    by_daemon              two applications without keys: the one connects by a daemon, the other serves by it
    one_relay, two_relays  near - R - far, near - R1 - R2 - far: each R has a session in memory to either side. It takes
                           an end out of the one, sends that very end on into the other, and does nothing more
"""

import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import (
    Advertised,
    ByteStream,
    ConnectionLost,
    Identity,
    KnownPeers,
    Limits,
    Local,
    Receiver,
    Sender,
    Session,
    SessionError,
    Trust,
)
from chanlink.channels.values import End, find_ends
from chanlink.limits import PeerLimits
from chanlink.security.keys.credential import HOST, USER
from chanlink.tasks import tasks_beside
from chanlink.testing import FaultyStream, local_server, session_pair
from chanlink.testing.promises import Bench
from chanlink.wire.messages.decode import decode
from chanlink.wire.messages.encode import encode, frame
from tests.attacker.man import Man, attacker
from tests.daemon.places import Host
from tests.patience import PATIENCE
from tests.security.keys.credentials import CA, save

Channel = tuple[Sender[Any], Receiver[Any]]
BREAK = 0.05
"""Seconds that the first connection lives of a session that is resumed all the time."""
LONGER = 1.2
"""By what each further one lives longer: however slow the machine is, one of them will get somewhere."""


AnyPlaces = TypeVar("AnyPlaces", bound="Places")


class Places:
    """Two places, and what can be made between them. This one has both in one process.

    What is made here, or is given to `keep`, is closed at the end.
    """

    def __init__(self) -> None:
        self._bench = Bench(None)
        self.keep = self._bench.keep
        self.forget = self._bench.forget
        self.pipe = self._bench.pipe
        self.byte_pipe = self._bench.byte_pipe
        self.close = self._bench.close

    async def carry(self, end: Any, *, back: bool = False) -> Any:
        """Send one end from near to far, or back, and return what arrives."""
        return end

    async def channel(self, capacity: int | None = None) -> Channel:
        """A channel from near to far; near made it and sent its receiver away."""
        sender, receiver = self.pipe(capacity)
        return sender, await self.carry(receiver)

    async def channel_back(self, capacity: int | None = None) -> Channel:
        """A channel from far to near; near made it and sent its sender away."""
        sender, receiver = self.pipe(capacity)
        return await self.carry(sender), receiver

    async def byte_stream(self) -> tuple[ByteStream, ByteStream]:
        """The near and the far end of a byte stream."""
        near, far = self.byte_pipe()
        return near, await self.carry(far)

    async def settle(self) -> None:
        """Return when all that was under way has arrived and was answered."""
        for _ in range(100):
            await checkpoint()


class CodecSender(Sender[Any]):
    """A sender whose messages are encoded and decoded before they are sent on."""

    async def send(self, item: Any) -> None:
        await super().send(through_codec(item))

    def send_nowait(self, item: Any) -> None:
        super().send_nowait(through_codec(item))

    def sending(self, item: Any) -> Any:
        return super().sending(through_codec(item))  # type: ignore[misc]


def through_codec(value: Any) -> Any:
    """What comes out at the other side, with the very ends that went in."""
    ends = find_ends(value, PeerLimits(), lambda item: None)
    body = encode(value, ends, PeerLimits())
    head, parts = frame(body, [(one.end.kind, n) for n, one in enumerate(ends.values())])
    message = head + b"".join(parts)
    there: list[End] = [one.end for one in ends.values()]
    return decode(int.from_bytes(message[:4], "big"), message[4:], Limits(), lambda kind, n: lambda: there[n])


class CodecPlaces(Places):
    def __init__(self) -> None:
        super().__init__()
        self.pipe = self._pipe

    def _pipe(self, capacity: int | None = None) -> Channel:
        sender, receiver = self._bench.pipe(capacity)
        sender.__class__ = CodecSender  # an end is more than its two cores; so it stays what `pipe` made of it
        return sender, receiver


class Hop(NamedTuple):
    """One session on the way, and a channel each way to carry ends over it."""

    near: Session
    far: Session
    there: Channel
    back: Channel
    cut: Callable[[], Any]
    service: str
    """What the client may open, if it may not open anything."""


class PlacesApart(Places):
    """Two places with one or more sessions between them."""

    def __init__(self, hops: list[Hop]) -> None:
        super().__init__()
        self.hops = hops
        for hop in hops:
            self.keep((hop.there, hop.back))

    @property
    def near(self) -> Session:
        return self.hops[0].near

    @property
    def far(self) -> Session:
        return self.hops[-1].far

    async def carry(self, end: Any, *, back: bool = False) -> Any:
        for hop in reversed(self.hops) if back else self.hops:
            sender, receiver = hop.back if back else hop.there
            await sender.send(end)
            end = self.keep(await receiver.receive())
        return end

    async def settle(self) -> None:
        """What was sent before a PING has arrived when it is answered; a relay has to get its turns in between."""
        for hops in (self.hops, list(reversed(self.hops))):
            for hop in hops:
                await super().settle()
                for session in (hop.near, hop.far):
                    with suppress(SessionError):  # it is over: nothing is under way any more
                        await session.ping()
        await super().settle()

    async def cut(self) -> None:
        """The last connection on the way to far dies, and everybody has heard of it."""
        await self.hops[-1].cut()
        await self.hops[-1].near.wait_closed()
        await self.hops[-1].far.wait_closed()
        await self.settle()


# --- sessions ---------------------------------------------------------------------------------------


class Joined(NamedTuple):
    client: Session
    server: Session
    cut: Callable[[], Any]
    service: str = "there"
    """As in `Hop`."""


@asynccontextmanager
async def in_memory(limits: Limits) -> AsyncIterator[Joined]:
    wires: list[FaultyStream] = []

    def wire(stream: Any) -> FaultyStream:
        wires.append(FaultyStream(stream))
        return wires[-1]

    async with session_pair(limits, wire=wire) as (client, server):
        yield Joined(client, server, wires[0].cut)


@asynccontextmanager
async def _over(address: str, limits: Limits) -> AsyncIterator[Joined]:
    async with (
        local_server(address=address, limits=limits) as listening,
        listening.connect(limits=limits) as client,
    ):
        yield Joined(client, await listening.listener.accept(), partial(abort, client))


async def abort(client: Session) -> None:
    """No farewell: the socket is closed, and that is all that the server sees."""
    client.abort()
    await client.wait_closed()


def over_tcp(limits: Limits) -> AbstractAsyncContextManager[Joined]:
    return _over("tcp://127.0.0.1:0", limits)


@asynccontextmanager
async def over_unix(limits: Limits) -> AsyncIterator[Joined]:
    with tempfile.TemporaryDirectory() as folder:
        async with _over(f"unix:{Path(folder)}/s", limits) as joined:
            yield joined


def over_websocket(limits: Limits) -> AbstractAsyncContextManager[Joined]:
    pytest.importorskip("websockets")
    return _over("ws://127.0.0.1:0/chan", limits)


@asynccontextmanager
async def by_credentials(limits: Limits) -> AsyncIterator[Joined]:
    """Neither side has the key of the other: an authority vouches for both."""
    ca = CA("org")
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        server = vouched_for(ca, folder / "server", "127.0.0.1", HOST)
        me = vouched_for(ca, folder / "client", "alice", USER)
        trust, known = folder / "trust", folder / "known_peers"
        trust.write_text(f'cert-authority,issuer="org",principals="alice" {ca.key}\n')
        known.write_text(f"@cert-authority 127.0.0.1 {ca.key}\n")
        async with (
            chanlink.listen("tcp://127.0.0.1:0", identity=server, trust=Trust.load(trust), limits=limits) as listener,
            chanlink.connect(listener.addresses[0], identity=me, trust=KnownPeers.load(known), limits=limits) as client,
        ):
            session = await listener.accept()
            assert (client.peer.name, session.peer.name) == ("127.0.0.1@org", "alice@org")
            yield Joined(client, session, partial(abort, client))


def vouched_for(ca: CA, file: Path, principal: str, type: int) -> Identity:
    """A new identity in a file, of which the authority says this."""
    identity = Identity.generate()
    identity.save(file)
    save(ca.issue(identity.public_key, principal, type=type), file)
    return Identity.load(file)


@asynccontextmanager
async def by_a_daemon(limits: Limits) -> AsyncIterator[Joined]:
    """A daemon that finds itself: it hands each side its end, and nothing that they say goes through it."""
    with tempfile.TemporaryDirectory() as path:
        host = Host(Path(path))
        host.trust(host.user_key)
        async with host.running(limits) as daemon:
            host.know(here=(daemon.addresses[0], host.key))
            async with (
                chanlink.listen(Advertised("ping", folder=host.run), limits=limits) as listener,
                chanlink.connect(Local("here", service="ping", folder=host.run), limits=limits) as client,
            ):
                yield Joined(client, await listener.accept(), partial(abort, client), "ping")


@asynccontextmanager
async def over_breaks(limits: Limits) -> AsyncIterator[Joined]:
    """Over a session that may be resumed, and has to be."""
    async with (
        local_server(limits=limits) as listening,
        attacker(listening.address) as man,
        chanlink.connect(
            man.address,
            identity=listening.identity("client"),
            peer=listening.public_key,
            limits=limits,
            resume=PATIENCE,
        ) as client,
        tasks_beside() as tasks,
    ):
        server = await listening.listener.accept()
        tasks.start_soon(cut_again_and_again, man)

        async def cut() -> None:
            """For good: what would be there after `PATIENCE` seconds is there now."""
            for session in (client, server):
                session._driver.lose(ConnectionLost("the connection was away for too long"))

        try:
            yield Joined(client, server, cut)
        finally:
            tasks.cancel_scope.cancel()


async def cut_again_and_again(man: Man) -> None:
    for number in itertools.count():
        await anyio.sleep(BREAK * LONGER**number)
        man.last.cut()


@asynccontextmanager
async def closing(places: AnyPlaces) -> AsyncIterator[AnyPlaces]:
    """These, as long as a test may take; what was made there is closed then."""
    with anyio.fail_after(PATIENCE):
        try:
            yield places
        finally:
            places.close()


@asynccontextmanager
async def chain(join: Any, count: int, limits: Limits | None = None) -> AsyncIterator[PlacesApart]:
    async with AsyncExitStack() as stack:
        hops = []
        for _ in range(count):
            joined = await stack.enter_async_context(join(limits or Limits()))
            there = await joined.client.open(joined.service), (await joined.server.accept()).end
            back = await joined.server.open("back"), (await joined.client.accept()).end
            hops.append(Hop(joined.client, joined.server, there, back, joined.cut, joined.service))
        yield await stack.enter_async_context(closing(PlacesApart(hops)))


# --- the ten ----------------------------------------------------------------------------------------


def memory(limits: Limits | None = None) -> AbstractAsyncContextManager[Places]:
    return closing(Places())


def memory_codec(limits: Limits | None = None) -> AbstractAsyncContextManager[Places]:
    return closing(CodecPlaces())


def session(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(in_memory, 1, limits)


def tcp(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(over_tcp, 1, limits)


def unix(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(over_unix, 1, limits)


def resumed(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(over_breaks, 1, limits)


def ws(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(over_websocket, 1, limits)


def vouched(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(by_credentials, 1, limits)


def by_daemon(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(by_a_daemon, 1, limits)


def one_relay(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(in_memory, 2, limits)


def two_relays(limits: Limits | None = None) -> AbstractAsyncContextManager[PlacesApart]:
    return chain(in_memory, 3, limits)


LOCAL = [memory, memory_codec]
DIRECT = [session, tcp, unix, ws, resumed, vouched]
HANDED = [by_daemon]
"""Of one service: what is opened is that, and nothing else."""
RELAYED = [one_relay, two_relays]

Route = Callable[..., AbstractAsyncContextManager[Any]]


def _over_each(routes: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.__name__)


every_route = _over_each([*LOCAL, *DIRECT, *HANDED, *RELAYED])
every_session = _over_each([*DIRECT, *HANDED, *RELAYED])
"""Those over which the two places are apart."""
every_direct_session = _over_each(DIRECT)
"""For what concerns a session itself, such as top-level channels."""
