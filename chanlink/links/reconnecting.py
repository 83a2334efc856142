"""`reconnecting`: the block that keeps a link, and its parameters."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from functools import partial

from anyio.abc import ByteStreamConnectable

from chanlink.arguments import expect, expect_function
from chanlink.handover.local import Local
from chanlink.instrument import Instrument, told
from chanlink.limits import Limits
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Trust
from chanlink.security.psk import Psk
from chanlink.security.security import Security, check_security
from chanlink.session.connecting import check_directory, check_options, check_resume, check_service, connect
from chanlink.session.hops import Way, read_way
from chanlink.session.local_connecting import check_local
from chanlink.session.naming import Resolver
from chanlink.session.proxied import proxy_of
from chanlink.session.services import Services
from chanlink.tasks import tasks_beside
from chanlink.transport.dial import name_of
from chanlink.transport.target import parse_target

from .keeping import Keeper, Setup
from .link import Link


@asynccontextmanager
async def reconnecting(
    address: str | ByteStreamConnectable | Local,
    *,
    setup: Setup | None = None,
    identity: Identity | None = None,
    peer: PublicKey | None = None,
    trust: Trust | KnownPeers | None = None,
    services: Services | None = None,
    timeout: float = 10.0,
    limits: Limits | None = None,
    psk: Psk | None = None,
    resume: float = 0.0,
    directory: Resolver | str | None = None,
    trust_directory: bool = False,
    service: str = "",
    via: Way = (),
    security: Security | None = None,
    proxy: str | None = None,
    instruments: Collection[Instrument] = (),
) -> AsyncGenerator[Link, None]:
    """Have a session with a server, and another one whenever that is over: a block that gives a `Link`.

    The block begins at once: whoever uses the link waits for a session. When one is lost, or can't be made, the link
    connects again, after a random part of 0.1 s, and of twice as much each time, up to 30 s; a session that was ready
    for 10 s begins that anew. A session that the server drains goes on until the server closes it, while the link goes
    on with the next one.

    ``await setup(session, tasks)`` is called for each new session before anybody else gets it: to subscribe to
    something, say. What it starts in `tasks` ends with the session, and it is cancelled itself if that is lost before.
    An error of a session, channel or call there ends that session, and the link connects again; any other exception
    ends the block, in a group.

    With ``resume`` a session outlives its connection for so many seconds, as with `connect`: the link is ``away``
    meanwhile, and goes on with the same session, in which nothing is lost. The next session comes after one that did
    not come back in time, or whose server is another process now.

    The other parameters are those of `connect`. Left normally, the block closes all its sessions in order. Raises
    `TypeError` and `AddressError`; all else is what the link says.
    """
    # Whole: the parameters of `connect`, checked once, and handed on.
    expect("address", address, str, ByteStreamConnectable, Local)
    if isinstance(address, str):
        parse_target(address)
    if setup is not None:
        expect_function("setup", setup)
    check_options(identity, peer, trust, services, timeout, limits, psk)
    check_directory(directory, trust_directory)
    check_resume(resume, address)
    check_security(security, psk=psk, resume=resume)
    if isinstance(address, Local):
        check_local(address, service, identity, peer, trust, psk, directory, trust_directory, via or None, security)
    check_service(service)
    hops = read_way(via)
    proxy_of(proxy, address, hops)
    all_told = told(instruments)
    link = Link(name_of(address), all_told)
    connects = partial(
        connect,
        address,
        identity=identity,
        peer=peer,
        trust=trust,
        services=services,
        timeout=timeout,
        limits=limits,
        psk=psk,
        resume=resume,
        directory=directory,
        trust_directory=trust_directory,
        service=service,
        via=hops,
        security=security,
        proxy=proxy,
        instruments=all_told or (),
    )
    keeper = Keeper(link, connects, setup)
    async with tasks_beside() as tasks:
        tasks.start_soon(keeper.run)
        try:
            yield link
        except BaseException:
            tasks.cancel_scope.cancel()
            raise
        finally:
            keeper.stop()
