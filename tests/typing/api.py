"""How the public names are typed, as their users see them.  Checked by mypy, never run."""

import signal
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal, Protocol, assert_type

import anyio
from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import Listener as AnyListener
from anyio.abc import ObjectReceiveStream, ObjectSendStream, SocketStream, TaskGroup
from anyio.streams.tls import TLSListener
from opentelemetry.sdk.trace import TracerProvider

import chanlink
from chanlink import blocking
from chanlink.directory import Directory, Entry, Gone, Registration, directory_services
from chanlink.directory import SQLiteStore as DirectoryFile
from chanlink.observing import ChannelInfo, ChannelTotals, Instrument, SessionInfo, SessionTotals
from chanlink.observing.opentelemetry import Traces
from chanlink.patterns import (
    Broadcast,
    FailedJob,
    Job,
    Jobs,
    MemoryStore,
    PostgresStore,
    QueueClient,
    QueueStatus,
    SQLiteStore,
    Subscription,
    Ticket,
    Watch,
    WorkQueue,
    broadcast,
    cut,
    drop_oldest,
    follow,
    queue_client,
    subscribe,
    watch,
    work_queue,
)


async def channels() -> None:
    sender, receiver = chanlink.pipe(item_type=int)
    assert_type(sender, chanlink.Sender[int])
    assert_type(receiver, chanlink.Receiver[int])
    await sender.send(1)
    await sender.send("one")  # type: ignore[arg-type]
    assert_type(await receiver.receive(), int)
    assert_type(await receiver.receive_many(), list[int])
    async for item in receiver:
        assert_type(item, int)
    reason = await sender.wait_closed()
    assert_type(reason, chanlink.ChannelError)


async def anyio_interfaces(session: chanlink.Session, listener: chanlink.Listener) -> None:
    sender: ObjectSendStream[str] = await session.open("service", str)
    _, receiver = chanlink.pipe(item_type=str)
    takes: ObjectReceiveStream[str] = receiver
    stream: AnyByteStream = await session.open_stream("service")
    sessions: AnyListener[chanlink.Session] = listener
    await sender.aclose()
    await takes.aclose()
    await stream.aclose()
    await sessions.aclose()


async def echo(requests: chanlink.Receiver[dict[str, Any]], peer: chanlink.Peer) -> None:
    async for request in requests:
        await request["reply"].send(peer.name)


class Watching(Instrument):
    def session_opened(self, session: SessionInfo, read: Callable[[], SessionTotals]) -> None:
        assert_type(read().volume, int)

    def channel_ended(self, channel: ChannelInfo, totals: ChannelTotals) -> None:
        assert_type(channel.parent, ChannelInfo | None)
        assert_type(totals.outcome, Literal["open", "ended", "failed", "refused", "lost"])


async def traces() -> None:
    async with chanlink.connect("tcp://server", instruments=[Traces(), Traces(TracerProvider(), joins=False)]):
        pass
    Traces("everything")  # type: ignore[arg-type]


async def instruments(trust: chanlink.Trust) -> None:
    async with chanlink.connect("tcp://server", instruments=[Watching()]):
        pass
    async with chanlink.reconnecting("tcp://server", instruments={Watching()}):
        pass
    await chanlink.serve({}, "tcp://:9323", trust=trust, instruments=(Watching(), Instrument()))
    async with chanlink.listen("tcp://:9323", trust=trust, instruments=[Instrument]):  # type: ignore[list-item]
        pass


async def services(listener: chanlink.Listener) -> None:
    async with broadcast(cut()) as news:
        mixed: chanlink.Services = {"news": news, "echo": echo, "bytes": chanlink.streams(echo)}
        early: chanlink.Services = {
            "news": chanlink.service(news, early=True),
            "bytes": chanlink.service(chanlink.streams(echo), enforces=("force-command",)),
        }
        await chanlink.serve(early, "unix:/run/it", trust=chanlink.Trust.of())
        await chanlink.serve(mixed, "unix:/run/it", trust=chanlink.Trust.of())


async def keys() -> None:
    assert_type(chanlink.Identity.load("id_ed25519", "secret"), chanlink.Identity)
    assert_type(await chanlink.Identity.aload("id_ed25519", b"secret"), chanlink.Identity)
    me = await chanlink.Identity.from_agent(chanlink.PublicKey.load("id_ed25519.pub"), socket="/run/agent")
    assert_type(await me.showing("id_ed25519").credential(), chanlink.Credential | None)
    known = chanlink.KnownPeers.load(first_use=True)
    host = chanlink.Host.find("build")
    names: dict[str, chanlink.Host] = chanlink.Host.load_all()
    assert_type(chanlink.Host.load_each(), dict[str, chanlink.Host | chanlink.ConfigError])
    assert_type(host.key, chanlink.PublicKey | None)
    assert_type([one.address for one in names.values()], list[str])
    async with chanlink.connect("tcp://server", identity=me, trust=known) as session:
        assert_type(session, chanlink.Session)
    async with chanlink.connect("tcp://server", service="echo") as session:
        assert_type(session.peer.issued, chanlink.Issued | None)
        if session.peer.issued is not None:
            assert_type(session.peer.issued.issuer, str)
            assert_type(session.peer.issued.credential, chanlink.Credential)
            assert_type(session.peer.issued.credential.force_command, str | None)
    prekeys = chanlink.KnownPrekeys("prekeys")
    async with chanlink.connect("tcp://server", early=True, known_prekeys=prekeys) as session:
        assert_type(session.early, Literal["none", "taken", "sent again"])
    async with chanlink.connect("tcp://server", early=True, known_prekeys="prekeys") as session:
        pass


async def endpoints(
    me: chanlink.Identity,
    trust: chanlink.Trust,
    below: AnyListener[SocketStream],
    stream: AnyByteStream,
    context: ssl.SSLContext,
) -> None:
    async with chanlink.listen("tcp://localhost:0", identity=me, trust=trust, services={"echo": echo}) as listener:
        assert_type(listener, chanlink.Listener)
        assert_type(listener.addresses, list[str])
    async with chanlink.listen(TLSListener(below, context), identity=me, trust=trust) as listener:
        assert_type(listener, chanlink.Listener)
    async with chanlink.listen(below, trust=trust, revoked="revoked"):
        pass
    async with chanlink.listen(listener, trust=trust):  # type: ignore[arg-type]
        pass
    async with chanlink.accept(stream, identity=me, trust=trust, services={"echo": echo}, psk=b"psk") as accepted:
        assert_type(accepted, chanlink.Session)
    async with chanlink.accept("unix:/run/it", trust=trust):  # type: ignore[arg-type]
        pass
    async with chanlink.connect("unix:/run/it", peer=me.public_key, psk="psk") as session:
        assert_type(session, chanlink.Session)
        assert_type(await session.ping(), float)
        assert_type(session.exporter("label", 32), bytes)
        session.check()
        session.drain()
        assert_type(session.state, Literal["open", "away", "draining", "closed"])
        async for state in session.states():
            assert_type(state, Literal["open", "away", "draining", "closed"])
        with session.cancel_when_draining() as scope:
            assert_type(scope, anyio.CancelScope)
        await listener.drain(0.5)
        await chanlink.serve({}, "unix:/run/it", trust=trust, signals=[signal.SIGTERM], drain=5)
        async for service, _end, _peer in session:
            assert_type(service, str)


async def wrapped() -> None:
    async with chanlink.wrap(open("file", "rb"), 10) as stream:
        body: chanlink.ByteStream = stream
        assert_type(body.size, int | None)
    assert_type(chanlink.__version__, str)


async def servers_by_name(trust: chanlink.Trust) -> None:
    async with Directory("tcp://directory", trust=chanlink.KnownPeers.load()) as directory:
        entries = await directory.lookup("web1", fresh=True)
        assert_type(entries, list[Entry])
        assert_type(entries[0].expires_in, float)
        async with aclosing(directory.changes("web")) as changes:
            async for change in changes:
                assert_type(change, Entry | Gone | None)
        registration = Registration(directory, "web1", addresses=["tcp://web1:9323"], life=60)
        assert_type(await registration.registered(), Entry)
        await chanlink.serve({}, "tcp://:9323", trust=trust, register=registration)
    async with directory_services(DirectoryFile("entries.db")) as services:
        await chanlink.serve(services, "tcp://:9323", trust=trust)


async def patterns(session: chanlink.Session) -> None:
    async with watch(1) as w:
        assert_type(w, Watch[int])
        assert_type(w.value, int)
        assert_type(w.subscribe(), chanlink.Receiver[int])
        w.set("one")  # type: ignore[arg-type]
    assert_type(await follow(session, "state"), chanlink.Receiver[Any])
    assert_type(await follow(session, "state", int), chanlink.Receiver[int])
    assert_type(await follow(session, "state", int | None), chanlink.Receiver[int | None])
    async with broadcast(drop_oldest(10), int) as b, broadcast(cut()) as anything:
        assert_type(b, Broadcast[int])
        assert_type(anything, Broadcast[Any])
        await b.send("one")  # type: ignore[arg-type]
        async with b.subscribe() as news:
            assert_type(news, Subscription[int])
            assert_type(await news.receive(), int)
            async for item in news:
                assert_type(item, int)
            await chanlink.select(news, news.closing())
    assert_type(await subscribe(session, "news"), Subscription[Any])
    assert_type(await subscribe(session, "news", int | None, capacity=3), Subscription[int | None])
    sender: chanlink.Sender[int] = await session.open("service", int)
    await sender.send(chanlink.encode(1))
    sender.send_nowait(chanlink.encode(1, int))
    await chanlink.select(sender.sending(chanlink.encode(1)))


async def jobs(session: chanlink.Session, link: chanlink.Link) -> None:
    assert_type(queue_client(session, "jobs"), QueueClient[Any, Any])
    assert_type(queue_client(session, "jobs", int), QueueClient[int, Any])
    assert_type(queue_client(session, "jobs", int | None), QueueClient[int | None, Any])
    assert_type(queue_client(session, "jobs", int, str | None), QueueClient[int, str | None])
    assert_type(queue_client(session, "jobs", list[int], str), QueueClient[list[int], str])
    queue = queue_client(link, "jobs", int, str)
    assert_type(queue, QueueClient[int, str])
    ticket = await queue.submit(1, id="one", attach=lambda attempt: chanlink.pipe()[0])
    assert_type(ticket, Ticket[str])
    assert_type(await ticket.result(), str)
    await queue.submit("one")  # type: ignore[arg-type]
    async with await queue.find("one") as found:
        assert_type(found, Ticket[str])
        async for value in found.progress():
            assert_type(value, Any)
    assert_type(await queue.status(), QueueStatus)
    assert_type(await queue.failed(after="one", most=10), list[FailedJob])
    async with queue.jobs(slots=8) as work:
        assert_type(work, Jobs[int, str])
        async for job in work:
            assert_type(job, Job[int, str])
            async with job:
                assert_type(job.value, int)
                assert_type(await job.done("result"), bool)
                await job.done(1)  # type: ignore[arg-type]
                await job.retry(after=2.5)


async def queues() -> None:
    async with work_queue() as anything:
        assert_type(anything, WorkQueue[Any, Any])
    async with work_queue(int, str, store=MemoryStore(keep=60), silence=5, attempts=1, most=10) as queue:
        assert_type(queue, WorkQueue[int, str])
        assert_type(await queue.submit(1), Ticket[str])
        desk = queue.service("submit", "find")
        chanlink.listen("unix:/x", trust=chanlink.Trust.of(), services={"jobs": queue, "desk": desk})
        queue.service("dance")  # type: ignore[arg-type]
    work_queue(store=SQLiteStore("jobs.db", fsync=False, keep=60, most_ended=10))
    work_queue(store=PostgresStore("postgresql:///app", "thumbnails", lease=5))
    async with work_queue(int | None, list[str]) as forms:
        assert_type(forms, WorkQueue[int | None, list[str]])


def threads(session: blocking.Session) -> None:
    async def add(one: int, other: int) -> str:
        return f"{one + other}"

    async def count(to: int) -> AsyncGenerator[int, None]:
        yield to

    assert_type(session.call(add, 1, 2, timeout=5), str)
    session.call(add, 1, "two")  # type: ignore[arg-type]
    for number in session.iterate(count, 3):
        assert_type(number, int)
    sender, receiver = session.pipe(item_type=int)
    assert_type(sender, blocking.Sender[int])
    assert_type(receiver.receive(timeout=1.5), int)
    sender.send("one")  # type: ignore[arg-type]
    assert_type(session.open("service", str), blocking.Sender[str])
    assert_type(session.queue("jobs"), blocking.QueueClient[Any, Any])
    assert_type(session.queue("jobs", int | None), blocking.QueueClient[int | None, Any])
    queue = session.queue("jobs", int, str)
    assert_type(queue, blocking.QueueClient[int, str])
    with queue.submit(1) as ticket:
        assert_type(ticket, blocking.Ticket[str])
        assert_type(ticket.result(timeout=5), str)
    queue.submit("one")  # type: ignore[arg-type]
    with queue.jobs(slots=2) as work:
        assert_type(work, blocking.Jobs[int, str])
        for job in work:
            assert_type(job, blocking.Job[int, str])
            assert_type(job.value, int)
            assert_type(job.done("result"), bool)
            job.done(1)  # type: ignore[arg-type]
    with blocking.connect("tcp://server") as other, session.enter(chanlink.connect("tcp://another")) as third:
        assert_type(other, blocking.Session)
        assert_type(third, chanlink.Session)


class Calculator(Protocol):
    async def add(self, one: int, other: int) -> int: ...


async def links(interface: chanlink.Interface[Calculator]) -> None:
    async def setup(session: chanlink.Session, tasks: TaskGroup) -> None: ...

    async with chanlink.reconnecting("tcp://server", setup=setup) as link:
        assert_type(link, chanlink.Link)
        assert_type(await link.session(), chanlink.Session)
        assert_type(await link.open("service", str), chanlink.Sender[str])
        assert_type(await link.open_stream("service"), chanlink.ByteStream)
        assert_type(link.client(interface, "calc"), Calculator)
        async for state in link.states():
            assert state in ("ready", "draining")
