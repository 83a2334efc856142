"""`accept`: the server over one byte stream that the program has, as `connect` is the client over one."""

import os
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from types import NoneType

from anyio.abc import ByteStream

from chanlink import clock
from chanlink.arguments import expect
from chanlink.channels.waiting import within
from chanlink.errors import HandshakeTimeout, UntrustedPeer
from chanlink.instrument import Instrument, told
from chanlink.limits import Limits
from chanlink.security.handshake import Authenticated
from chanlink.security.handshake_server import handshake_as_server, welcome
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Trust
from chanlink.security.psk import Psk, load_psk
from chanlink.security.resuming.agreement import Terms
from chanlink.security.security import Security, Side, check_security, side_of
from chanlink.security.statics import Statics
from chanlink.tasks import tasks_beside
from chanlink.transport.base import Transport, close_at_once, remote_of
from chanlink.transport.given import given_stream

from .peer import address_of
from .services import Services, check_services
from .session import Session, session_with
from .telling import refusing
from .vouching import Vouching, admits_of, authority_of, ours_of


@asynccontextmanager
async def accept(
    stream: ByteStream,
    *,
    identity: Identity | None = None,
    trust: Trust,
    services: Services | None = None,
    limits: Limits | None = None,
    psk: Psk | None = None,
    revoked: str | os.PathLike[str] | None = None,
    security: Security | None = None,
    instruments: Collection[Instrument] = (),
) -> AsyncGenerator[Session, None]:
    """Be the server over one byte stream: an async context manager that gives a `Session`.

    The client calls `connect` over the other end of it: the pipes of a child process, a socket pair, a stream of TLS.
    For all who come to an address there is `listen`. Once the handshake has begun the stream is ours, and it is closed,
    whatever comes of it.

    ``trust`` says who may be the client; when the file that it was loaded from has changed, what it does not allow any
    more ends as ``revoked``. ``services`` are served to the client, those that it is allowed; without them, channels
    come out of `Session.accept`. ``identity``, ``limits``, ``psk``, ``revoked``, ``security`` and ``instruments`` are
    as for `listen`; nobody counts sessions or failures. The handshake has `Limits.handshake` seconds, from now on.

    Raises `HandshakeTimeout`, `UntrustedPeer` (the client's key is not trusted; it was told so), `HandshakeError`, or a
    `ConfigError`. An exception of the block leaves it as it is.
    """
    expect("stream", stream, ByteStream)
    expect("identity", identity, Identity, NoneType)
    expect("trust", trust, Trust)
    expect("limits", limits, Limits, NoneType)
    check_services(services)
    check_security(security, psk=psk)
    limits, all_told = limits or Limits(), told(instruments)
    statics = Statics(identity or Identity.default(), Role.SERVER, load_psk(psk))
    side = side_of(security, statics, limits)
    authority = await authority_of(trust, revoked)
    address = address_of(remote_of(stream), type(stream).__name__)
    with refusing(all_told, Instrument.connection_refused, address):
        authenticated = await _authenticate(given_stream(stream), statics, authority, limits, address, side)
    vouching = Vouching(authenticated.presented, authenticated.grant, admits_of(authority), ours_of(statics))
    session = session_with(
        authenticated,
        address,
        client_side=False,
        limits=limits,
        services=services,
        instruments=all_told,
        vouching=vouching,
    )

    def trust_changed() -> None:
        session._regrant(vouching.admitted_still())

    async with tasks_beside() as tasks:
        tasks.start_soon(authority.watch, limits.trust_interval, trust_changed)
        try:
            async with session:
                yield session
        finally:
            tasks.cancel_scope.cancel()


async def _authenticate(
    transport: Transport, statics: Statics, authority: Authority, limits: Limits, address: str, side: Side | None
) -> Authenticated:
    def admit(presented: Presented) -> Grant:
        return authority.admit(presented, clock.since_1970())

    try:
        async with within(limits.handshake):
            if side is not None:
                return await welcome(await side.meet(transport), admit, Terms.made(0))
            return await handshake_as_server(transport, statics, admit, limits)
        raise HandshakeTimeout(f"{address}: the handshake did not end within {limits.handshake:g} s")
    except BaseException as exc:
        if not isinstance(exc, UntrustedPeer):  # which it was told: all other failures look alike
            transport.reset_when_closed()
        await close_at_once(transport)
        raise
