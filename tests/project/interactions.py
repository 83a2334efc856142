"""Features in pairs: sessions that are made with some of them, and what is done over a session.

`Place` is a client's session that is made with these features, and what the other side has. `USES` do one thing each
over such a session; `BLOCKING_USES` do the same from a thread. With ``relay`` in the features, the client's session
leads to a relay, and the services are in a third process, as it were.
"""

import dataclasses
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
import pytest
from anyio.abc import ByteReceiveStream, ByteStream, TaskGroup, UNIXSocketStream
from opentelemetry.sdk.trace import TracerProvider

import chanlink
from chanlink import (
    CallRefused,
    ChannelRefused,
    Identity,
    Interface,
    JobRefused,
    KnownPrekeys,
    Peer,
    Receiver,
    Sender,
    Session,
    Trust,
    blocking,
    service,
)
from chanlink.observing.counting import FAMILIES, Counts
from chanlink.observing.opentelemetry import Traces
from chanlink.patterns import (
    Broadcast,
    Subscription,
    Watch,
    broadcast,
    drop_oldest,
    follow,
    queue_client,
    subscribe,
    watch,
    work_queue,
)
from tests.patience import until
from tests.security.keys.credentials import CA, save

ROOT = Path(__file__).parents[2]
(OPENED,) = (family for family in FAMILIES if family.name == "chanlink.channels.opened")
RELEASED = "9f6da47"
"""The commit of version 0.1."""
PSK = bytes(range(32))
CLIENT, SERVER, RELAY = (Identity.generate(name) for name in ("client", "server", "relay"))
TRUST = Trust.of(CLIENT.public_key, RELAY.public_key)
ORG = CA("org")


# --- what the other side serves ---------------------------------------------------------------------------


@dataclasses.dataclass
class Receipt:
    item: str
    count: int


@dataclasses.dataclass
class Order:
    item: str
    reply: Sender[Receipt]


async def ask(orders: Receiver[Order], peer: Peer) -> None:
    async for order in orders:
        async with order.reply as reply:
            await reply.send(Receipt(order.item, len(order.item)))


class Works(Protocol):
    async def add(self, a: int, b: int) -> int: ...
    def count(self, to: int) -> AsyncGenerator[int, None]: ...
    async def carry_out(self, orders: Receiver[Order]) -> int: ...
    async def state(self) -> Receiver[int]: ...
    async def listen(self, listener: Sender[Any]) -> None: ...


WORKS = Interface(Works)


class Working:
    def __init__(self, state: Watch[int], news: Broadcast[str]) -> None:
        self._state, self._news = state, news

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    async def carry_out(self, orders: Receiver[Order]) -> int:
        done = 0
        async for order in orders:
            async with order.reply as reply:
                await reply.send(Receipt(order.item, 1))
            done += 1
        return done

    async def state(self) -> Receiver[int]:
        return self._state.subscribe()

    async def listen(self, listener: Sender[Any]) -> None:
        self._news.add(listener)


Handlers = dict[str, Any]


@asynccontextmanager
async def services() -> AsyncIterator[tuple[Handlers, Watch[int], Broadcast[str]]]:
    async with watch(1, int) as state, broadcast(drop_oldest(10), str) as news, work_queue(str, Receipt) as queue:

        async def change(values: Receiver[Any], peer: Peer) -> None:
            async for value in values:
                state.set(value)

        works = WORKS.serving(Working(state, news))
        yield {"ask": ask, "works": works, "state": state, "change": change, "news": news, "jobs": queue}, state, news


# --- sessions ---------------------------------------------------------------------------------------------


def vouched(folder: Path) -> tuple[Identity, Trust]:
    """The client, and a trust that knows it by its credential alone."""
    file, trust = folder / "client", folder / "may_connect"
    CLIENT.save(file)
    save(ORG.issue(CLIENT.public_key, "client"), file)
    line = f'cert-authority,issuer="org",principals="client" {ORG.key}'
    trust.write_text(f"{line}\n{RELAY.public_key}\n")
    return Identity.load(file), Trust.load(trust)


class Place:
    """A client's session, and what is at the other side of it."""

    session: Session

    def __init__(self, features: Collection[str], folder: Path) -> None:
        self.features = features
        self.folder = folder
        self.client, self.trust = CLIENT, TRUST
        if "credentials" in features:
            self.client, self.trust = vouched(folder)
        self.servers: list[Session] = []
        self.states: list[int] = []
        self.options: dict[str, Any] = {"psk": PSK} if "psk" in features else {}
        if "nacl_tls" in features:
            self.options["security"] = chanlink.nacl_tls
        self.counts = Counts()
        if "instruments" in features:
            self.options["instruments"] = [self.counts, Traces(TracerProvider())]
        self.client_options: dict[str, Any] = {"eager": True} if "eager" in features else {}
        if "early" in features:
            self.client_options |= {"early": True, "known_prekeys": KnownPrekeys()}
        self.address = f"unix:{folder / 'socket'}"
        self.state: Watch[int]
        self.news: Broadcast[str]

    @property
    def server(self) -> Session:
        """The session of the other side."""
        (session,) = self.servers
        return session

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Handlers]:
        """What is served to the client, by the other side or beyond it."""
        async with services() as (handlers, self.state, self.news):
            if "relay" not in self.features:
                yield handlers
                return
            async with beyond(handlers, self.folder) as passing_on:
                yield passing_on

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The other side, at an address."""
        async with (
            self.serving() as handlers,
            chanlink.listen(
                self.address, identity=SERVER, trust=self.trust, services=self.counted(handlers), **self.options
            ),
        ):
            yield self.address

    @asynccontextmanager
    async def accepting(self) -> AsyncIterator[ByteStream]:
        """The other side, over a stream of its own."""
        near, far = [await UNIXSocketStream.from_socket(sock) for sock in socket.socketpair()]

        async def accept(handlers: Handlers) -> None:
            async with chanlink.accept(
                far, identity=SERVER, trust=self.trust, services=self.counted(handlers), **self.options
            ) as session:
                await session.wait_closed()

        async with self.serving() as handlers, anyio.create_task_group() as tasks:
            tasks.start_soon(accept, handlers)
            yield near

    def counted(self, handlers: Handlers) -> Handlers:
        """A service more, which notes the session that it is asked by."""

        async def note(requests: Receiver[Any], peer: Peer) -> None:
            async for reply in requests:
                async with reply:
                    self.servers.append(chanlink.current_session())
                    await reply.send("noted")

        if "early" in self.features:
            handlers = {name: service(handler, early=True) for name, handler in handlers.items()}
        return {**handlers, "note": note}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Place"]:
        """With the client's session."""
        reached: Any = self.accepting() if "stream" in self.features else self.listening()
        async with reached as address:
            if "early" in self.features and "stream" not in self.features:  # a session that brings a prekey
                async with chanlink.connect(
                    address, identity=self.client, peer=SERVER.public_key, **self.client_options
                ):
                    pass
            async with chanlink.connect(
                address, identity=self.client, peer=SERVER.public_key, **self.options, **self.client_options
            ) as self.session:
                await self.be_noted()
                if "early" in self.features:
                    assert self.session.early == ("none" if "stream" in self.features else "taken")
                yield self

    def open_ones(self) -> int:
        """What instruments were told is open."""
        return sum(sum(self.counts.samples(one).values()) for one in FAMILIES if one.kind == "gauge")

    async def be_noted(self) -> None:
        """Have the other side's session known."""
        async with await self.session.open("note") as requests:
            reply, replies = chanlink.pipe()
            await requests.send(reply)
            assert await replies.receive() == "noted"

    async def set_up(self, session: Session, tasks: TaskGroup) -> None:
        """Of each new session of a link: follow anew."""
        state = await follow(session, "state", int)
        self.states.append(await state.receive())
        state.close()


@asynccontextmanager
async def beyond(handlers: Handlers, folder: Path) -> AsyncIterator[Handlers]:
    """Services that pass channels on to those of another session, as a relay does."""
    address = f"unix:{folder / 'beyond'}"

    async def distribute(channels: Receiver[Any], peer: Peer) -> None:
        async with anyio.create_task_group() as tasks:
            async for service, channel in channels:
                handler = handlers[service]
                tasks.start_soon(handler, channel.typed(Order) if handler is ask else channel, peer)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            chanlink.listen(address, identity=SERVER, trust=TRUST, services={"distribute": distribute})
        )
        further = await stack.enter_async_context(chanlink.connect(address, identity=RELAY, peer=SERVER.public_key))
        channels: Sender[Any] = await stack.enter_async_context(await further.open("distribute"))

        async def pass_on(service: str, channel: Receiver[Any], peer: Peer) -> None:
            await channels.send([service, channel])

        yield {name: partial(pass_on, name) for name in handlers}


# --- what is done over one --------------------------------------------------------------------------------


async def use_types(place: Place) -> None:
    async with await place.session.open("ask", Order) as orders:
        reply, replies = chanlink.pipe(item_type=Receipt)
        await orders.send(Order("tea", reply))
        assert await replies.receive() == Receipt("tea", 3)
        wrong, answers = chanlink.pipe()
        await orders.typed(Any).send({"item": 5, "reply": wrong})  # type: ignore[attr-defined]
        with pytest.raises(chanlink.ChannelFailed):
            await answers.receive()


async def use_calls(place: Place) -> None:
    works = WORKS.client(place.session, "works")
    assert await works.add(1, 2) == 3
    async with aclosing(works.count(3)) as numbers:
        assert [number async for number in numbers] == [0, 1, 2]


async def change(session: Session, value: int) -> None:
    async with await session.open("change") as changes:
        await changes.send(value)


async def use_watch(place: Place) -> None:
    async with await follow(place.session, "state", int) as state:
        first = await state.receive()
        await change(place.session, first + 1)
        assert await state.receive() == first + 1


async def use_broadcast(place: Place) -> None:
    async with await subscribe(place.session, "news", str) as news:
        await until(lambda: place.news.subscribers == 1)
        await place.news.send("tea is ready")
        assert await news.receive() == "tea is ready"
    await until(lambda: place.news.subscribers == 0)


async def use_queue(place: Place) -> None:
    """One session brings a job and works on it; the ends that are attached go there and back by the queue."""
    queue = queue_client(place.session, "jobs", str, Receipt)
    ends: list[Receiver[str]] = []

    def attach(attempt: int) -> Sender[str]:
        sender, receiver = chanlink.pipe(item_type=str)
        ends.append(receiver)
        return sender

    async with await queue.submit("tea", attach=attach) as ticket, queue.jobs() as work, await anext(work) as job:
        await job.attached.send(f"no milk, attempt {job.attempt}")
        assert await job.done(Receipt(job.value, 1))
        assert await ticket.result() == Receipt("tea", 1)
    async with ends[0] as receiver:
        assert await receiver.receive() == "no milk, attempt 1"


Use = Callable[[Place], Awaitable[None]]
USES: dict[str, Use] = {
    "types": use_types,
    "calls": use_calls,
    "watch": use_watch,
    "broadcast": use_broadcast,
    "queue": use_queue,
}


def block_types(place: Place, session: blocking.Session) -> None:
    with session.open("ask", Order) as orders:
        reply, replies = session.pipe(item_type=Receipt)
        orders.send(Order("tea", reply.end))
        assert replies.receive() == Receipt("tea", 3)


def block_calls(place: Place, session: blocking.Session) -> None:
    works = session.client(WORKS, "works")
    assert session.call(works.add, 1, 2) == 3
    assert list(session.iterate(works.count, 3)) == [0, 1, 2]


def block_watch(place: Place, session: blocking.Session) -> None:
    with session.call(follow, session.session, "state", int) as state:
        first = state.receive()
        with session.open("change") as changes:
            changes.send(first + 1)
        assert state.receive() == first + 1


def block_broadcast(place: Place, session: blocking.Session) -> None:
    news = session.call(subscribe, session.session, "news", str)
    anyio.from_thread.run(until, lambda: place.news.subscribers == 1)
    anyio.from_thread.run(place.news.send, "tea is ready")
    assert session.call(news.receive) == "tea is ready"
    session.call(news.aclose)


def block_queue(place: Place, session: blocking.Session) -> None:
    queue = session.queue("jobs", str, Receipt)
    with queue.submit("tea") as ticket, queue.jobs() as work, next(work) as job:
        assert job.done(Receipt(job.value, job.attempt))
        assert ticket.result() == Receipt("tea", 1)


BlockingUse = Callable[[Place, blocking.Session], None]
BLOCKING_USES: dict[str, BlockingUse] = {
    "types": block_types,
    "calls": block_calls,
    "watch": block_watch,
    "broadcast": block_broadcast,
    "queue": block_queue,
}


# --- pairs that are more than one beside the other --------------------------------------------------------


async def types_in_calls(place: Place) -> None:
    orders, theirs = chanlink.pipe(item_type=Order)
    works = WORKS.client(place.session, "works")
    counts: list[int] = []

    async def call() -> None:
        counts.append(await works.carry_out(theirs))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        async with orders:
            reply, replies = chanlink.pipe(item_type=Receipt)
            await orders.send(Order("tea", reply))
            assert await replies.receive() == Receipt("tea", 1)
    assert counts == [1]


async def types_of_a_watch(place: Place) -> None:
    async with watch(Receipt("tea", 1), Receipt) as receipts:
        receiver = receipts.subscribe()
        async with receiver:
            assert await receiver.receive() == Receipt("tea", 1)
    async with await follow(place.session, "state", str) as wrong:
        with pytest.raises(chanlink.MessageTypeError):
            await wrong.receive()


async def watch_by_a_call(place: Place) -> None:
    state = await WORKS.client(place.session, "works").state()
    async with state:
        first = await state.receive()
        await change(place.session, first + 1)
        assert await state.receive() == first + 1


async def broadcast_by_a_call(place: Place) -> None:
    sender, receiver = chanlink.pipe()
    await WORKS.client(place.session, "works").listen(sender)
    async with Subscription[str](receiver) as news:
        await place.news.send("tea is ready")
        assert await news.receive() == "tea is ready"


async def types_of_a_broadcast(place: Place) -> None:
    async with await subscribe(place.session, "news", int) as wrong:
        await until(lambda: place.news.subscribers == 1)
        await place.news.send("tea is ready")
        with pytest.raises(chanlink.MessageTypeError):
            await wrong.receive()


async def types_of_a_queue(place: Place) -> None:
    wrong = queue_client(place.session, "jobs", int)
    with pytest.raises(JobRefused, match="bad-job"):
        await wrong.submit(5)


async def queue_of_calls(place: Place) -> None:
    """A job is a call that outlasts whoever asks for it."""
    works, queue = WORKS.client(place.session, "works"), queue_client(place.session, "jobs", str, Receipt)
    ticket = await queue.submit("1 2")
    async with queue.jobs() as work, await anext(work) as job:
        assert await job.done(Receipt(job.value, await works.add(*map(int, job.value.split()))))
    assert await ticket.result() == Receipt("1 2", 3)


SPECIAL: dict[frozenset[str], Use] = {
    frozenset({"types", "queue"}): types_of_a_queue,
    frozenset({"calls", "queue"}): queue_of_calls,
    frozenset({"types", "broadcast"}): types_of_a_broadcast,
    frozenset({"calls", "broadcast"}): broadcast_by_a_call,
    frozenset({"types", "calls"}): types_in_calls,
    frozenset({"types", "watch"}): types_of_a_watch,
    frozenset({"calls", "watch"}): watch_by_a_call,
}


# --- drain ------------------------------------------------------------------------------------------------


async def drained(place: Place) -> None:
    """What is open goes on, and nothing new begins."""
    orders = await place.session.open("ask", Order)
    state = await follow(place.session, "state", int)
    news = await subscribe(place.session, "news", str)
    async with orders, state, news:
        await state.receive()
        await until(lambda: place.news.subscribers == 1)
        place.server.drain()
        async for now in place.session.states():
            if now == "draining":
                break
        reply, replies = chanlink.pipe(item_type=Receipt)
        await orders.send(Order("tea", reply))
        assert await replies.receive() == Receipt("tea", 3)
        place.state.set(7)
        assert await state.receive() == 7
        await place.news.send("tea is ready")
        assert await news.receive() == "tea is ready"
        with pytest.raises(ChannelRefused) as refused:
            await place.session.open("ask")
        assert refused.value.code == "draining"


# --- a peer of version 0.1 --------------------------------------------------------------------------------


def released(folder: Path) -> Path:
    """A folder with the released package. Skips where its commit is not in this clone."""
    if (folder / "released").exists():
        return folder / "released"
    archive = subprocess.run(["git", "archive", RELEASED, "chanlink"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {RELEASED}, version 0.1, is not in this clone")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder / "released", filter="data")
    return folder / "released"


@asynccontextmanager
async def old_peer(place: Place, role: str, address: str, **streams: Any) -> AsyncIterator[AsyncGenerator[str, None]]:
    """A program of version 0.1, as the server or the client of this place."""
    folder = place.folder
    ours, theirs = (CLIENT, SERVER) if role == "serve" else (SERVER, CLIENT)
    theirs.save(folder / "old")
    (folder / "new.pub").write_text(f"{ours.public_key}\n")
    psk = [PSK.hex()] if "psk" in place.features else []
    script, path = os.fspath(ROOT / "tests" / "project" / "old_peer.py"), os.fspath(released(folder))
    command = [sys.executable, script, role, address, os.fspath(folder / "old"), os.fspath(folder / "new.pub"), *psk]
    environment = {**os.environ, "PYTHONPATH": path}
    async with await anyio.open_process(command, env=environment, cwd=folder, stderr=None, **streams) as process:
        assert process.stdout is not None
        async with aclosing(lines_of(process.stdout)) as lines:
            try:
                yield lines
            finally:
                process.kill()


async def lines_of(output: ByteReceiveStream) -> AsyncGenerator[str, None]:
    rest = b""
    async for data in output:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode()


async def old_server(place: Place) -> None:
    """A client of today, with whatever features, asks a server of 0.1."""
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        async with chanlink.connect(
            place.address, identity=place.client, peer=SERVER.public_key, **place.options, **place.client_options
        ) as place.session:
            await ask_once(place.session)


async def ask_once(session: Session) -> None:
    async with await session.open("ask", Order) as orders:
        reply, replies = chanlink.pipe(item_type=Receipt)
        await orders.send(Order("tea", reply))
        assert await replies.receive() == Receipt("tea", 3)


async def old_server_is_too_old(place: Place) -> None:
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        with pytest.raises(chanlink.ServerTooOld):
            async with chanlink.connect(place.address, identity=place.client, peer=SERVER.public_key, service="ask"):
                pass


async def old_server_of_a_thread(place: Place) -> None:
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        await anyio.to_thread.run_sync(partial(from_a_thread, place, place.address, [block_types]))


async def old_server_has_no_methods(place: Place) -> None:
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        async with chanlink.connect(place.address, identity=place.client, peer=SERVER.public_key) as session:
            with pytest.raises(CallRefused) as refused:
                await WORKS.client(session, "works").add(1, 2)
            assert refused.value.code == "no-such-service"


async def old_server_has_no_queue(place: Place) -> None:
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        async with chanlink.connect(place.address, identity=place.client, peer=SERVER.public_key) as session:
            with pytest.raises(JobRefused, match="no-such-service"):
                await queue_client(session, "jobs").submit("tea")


async def old_client(place: Place) -> None:
    """A client of 0.1 follows a watch, or what is broadcast; over a stream if that is among the features."""
    service = "news" if "broadcast" in place.features else "state"
    released(place.folder)  # skips before there is a task group, which would make a failure of that
    async with AsyncExitStack() as stack:
        if "stream" in place.features:
            near, far = socket.socketpair()
            handlers = await stack.enter_async_context(place.serving())
            tasks: TaskGroup = await stack.enter_async_context(anyio.create_task_group())

            async def accept() -> None:
                stream = await UNIXSocketStream.from_socket(far)
                async with chanlink.accept(stream, identity=SERVER, trust=place.trust, services=handlers) as session:
                    await session.wait_closed()

            tasks.start_soon(accept)
            said = await stack.enter_async_context(old_peer(place, f"follow:{service}", "-", stdin=near))
            near.close()
        else:
            await stack.enter_async_context(place.listening())
            said = await stack.enter_async_context(old_peer(place, f"follow:{service}", place.address))
        if service == "news":
            await until(lambda: place.news.subscribers == 1)
            await place.news.send("tea is ready")
            assert await anext(said) == "['tea is ready']"
            return
        assert await anext(said) == "1"
        place.state.set(2)
        assert await anext(said) == "2"


async def old_server_beyond_a_relay(place: Place) -> None:
    async with (
        old_peer(place, "serve", f"unix:{place.folder / 'beyond'}") as said,
        AsyncExitStack() as stack,
    ):
        assert await anext(said) == "ready"
        further = await stack.enter_async_context(
            chanlink.connect(f"unix:{place.folder / 'beyond'}", identity=place.client, peer=SERVER.public_key)
        )
        there: Sender[Any] = await stack.enter_async_context(await further.open("ask"))

        async def pass_on(orders: Receiver[Any], peer: Peer) -> None:
            async for order in orders:
                await there.send(order)

        handlers = {"ask": pass_on}
        await stack.enter_async_context(
            chanlink.listen(place.address, identity=RELAY, trust=place.trust, services=handlers)
        )
        async with chanlink.connect(place.address, identity=place.client, peer=RELAY.public_key) as session:
            await ask_once(session)


OLD: dict[str, Use] = {
    "service": old_server_is_too_old,
    "credentials": old_server,
    "early": old_server,
    "psk": old_server,
    "eager": old_server,
    "types": old_server,
    "calls": old_server_has_no_methods,
    "queue": old_server_has_no_queue,
    "blocking": old_server_of_a_thread,
    "stream": old_client,
    "watch": old_client,
    "broadcast": old_client,
    "relay": old_server_beyond_a_relay,
    "instruments": old_server,
}


# --- from a thread ----------------------------------------------------------------------------------------


def from_a_thread(place: Place, address: Any, uses: Collection[BlockingUse]) -> None:
    with blocking.connect(
        address, identity=place.client, peer=SERVER.public_key, **place.options, **place.client_options
    ) as session:
        for use in uses:
            use(place, session)


async def blocked(place: Place) -> None:
    uses = [BLOCKING_USES[name] for name in place.features if name in BLOCKING_USES] or [block_types]
    async with place.listening() as address:
        # A stream belongs to one event loop; what connects is called in that of the session.
        reached = anyio.as_connectable(address.removeprefix("unix:")) if "stream" in place.features else address
        await anyio.to_thread.run_sync(partial(from_a_thread, place, reached, uses))


async def blocked_while_the_server_drains(place: Place) -> None:
    def thread() -> None:
        with (
            blocking.connect(place.address, identity=place.client, peer=SERVER.public_key, **place.options) as session,
            session.open("ask", Order) as orders,
            session.open("note") as noting,
        ):
            told, noted = session.pipe()
            noting.send(told)
            assert noted.receive() == "noted"
            anyio.from_thread.run_sync(place.server.drain)
            while session.session.state != "draining":
                session.ping()
            reply, replies = session.pipe(item_type=Receipt)
            orders.send(Order("tea", reply.end))
            assert replies.receive() == Receipt("tea", 3)
            with pytest.raises(ChannelRefused, match="draining"):
                session.open("ask")

    async with place.listening():
        await anyio.to_thread.run_sync(thread)


# --- a link, which connects again -------------------------------------------------------------------------


async def linked(place: Place) -> None:
    """What is done over a session is done over the next one, too, when that is lost."""
    async with place.listening() as address:
        reached: Any = anyio.as_connectable(address.removeprefix("unix:")) if "stream" in place.features else address
        async with chanlink.reconnecting(
            reached, identity=place.client, peer=SERVER.public_key, setup=place.set_up, **place.options
        ) as link:
            works = link.client(WORKS, "works")
            for times in (1, 2):
                place.session = await link.session()
                await place.be_noted()
                async with await link.open("ask", Order) as orders:
                    reply, replies = chanlink.pipe(item_type=Receipt)
                    await orders.send(Order("tea", reply))
                    assert await replies.receive() == Receipt("tea", 3)
                assert await works.add(1, 2) == 3
                for name in place.features & USES.keys():
                    await USES[name](place)
                assert len(place.states) == times
                place.servers.pop().abort()
                await place.session.wait_closed()


async def linked_while_the_server_drains(place: Place) -> None:
    """What is open goes on with the old session, and what is new with the next one."""
    async with (
        place.listening() as address,
        chanlink.reconnecting(address, identity=place.client, peer=SERVER.public_key, **place.options) as link,
        await link.open("ask", Order) as orders,
    ):
        place.session = await link.session()
        await place.be_noted()
        place.servers.pop().drain()
        async for state in link.states():
            if state != "ready":
                break
        assert await link.session() is not place.session
        assert await link.client(WORKS, "works").add(1, 2) == 3
        reply, replies = chanlink.pipe(item_type=Receipt)
        await orders.send(Order("tea", reply))
        assert await replies.receive() == Receipt("tea", 3)


async def linked_from_a_thread(place: Place) -> None:
    def thread() -> None:
        made = chanlink.reconnecting(place.address, identity=place.client, peer=SERVER.public_key)
        with blocking.loop() as loop, loop.enter(made) as link:
            assert loop.call(link.client(WORKS, "works").add, 1, 2) == 3

    async with place.listening():
        await anyio.to_thread.run_sync(thread)


async def linked_to_an_old_server(place: Place) -> None:
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        async with (
            chanlink.reconnecting(place.address, identity=place.client, peer=SERVER.public_key) as link,
            await link.open("ask", Order) as orders,
        ):
            reply, replies = chanlink.pipe(item_type=Receipt)
            await orders.send(Order("tea", reply))
            assert await replies.receive() == Receipt("tea", 3)


async def no_eager_link(place: Place) -> None:
    with pytest.raises(TypeError, match="eager"):
        chanlink.reconnecting(place.address, eager=True)  # type: ignore[call-arg]


async def no_early_link(place: Place) -> None:
    with pytest.raises(TypeError, match="early"):
        chanlink.reconnecting(place.address, early=True)  # type: ignore[call-arg]


async def early_and_another_beginning(place: Place) -> None:
    (other,) = place.features - {"early"}  # type: ignore[operator]
    option: dict[str, Any] = {"psk": {"psk": PSK}, "eager": {"eager": True}, "resume": {"resume": 5.0}}[other]
    with pytest.raises(chanlink.ConfigError, match=other):
        async with chanlink.connect(place.address, identity=place.client, peer=SERVER.public_key, early=True, **option):
            pass


LINKED: dict[str, Use] = {
    "early": no_early_link,
    "eager": no_eager_link,
    "drain": linked_while_the_server_drains,
    "blocking": linked_from_a_thread,
    "0.1": linked_to_an_old_server,
}


# --- a pair -----------------------------------------------------------------------------------------------


async def run_pair(pair: frozenset[str], folder: Path) -> None:
    """Do with both features what shows that they go together."""
    place = Place(pair, folder)
    if "early" in pair and pair & {"psk", "eager", "resume"}:
        await early_and_another_beginning(place)
    elif "reconnecting" in pair:
        (other,) = pair - {"reconnecting"}
        await LINKED.get(other, linked)(place)
    elif "0.1" in pair:
        (other,) = pair - {"0.1"}
        await OLD[other](place)
    elif pair == {"blocking", "drain"}:
        await blocked_while_the_server_drains(place)
    elif "blocking" in pair:
        await blocked(place)
    else:
        async with place.connected():
            if "drain" in pair:
                await drained(place)
            for name in sorted(pair & USES.keys()) or ["types"]:
                if "drain" not in pair:
                    await USES[name](place)
            if pair in SPECIAL:
                await SPECIAL[pair](place)
    if "instruments" in pair:
        await until(lambda: not place.open_ones())
        assert any(place.counts.samples(OPENED).values())
