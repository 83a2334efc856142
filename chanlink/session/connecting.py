"""`connect`: address -> byte stream -> `NoiseStream` -> `Session`."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import NoneType

from anyio.abc import ByteStream

from chanlink.channels.waiting import within
from chanlink.errors import (
    ConnectFailed,
    HandshakeError,
    HandshakeTimeout,
    SessionClosed,
    SessionError,
)
from chanlink.limits import Limits
from chanlink.security.handshake import Authenticated, handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Trust
from chanlink.security.psk import Psk, load_psk
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.base import close_at_once
from chanlink.transport.dial import Connectable, Dial, name_of

from .arguments import expect
from .peer import Peer
from .services import Services, check_services
from .session import Session


@asynccontextmanager
async def connect(
    address: Connectable,
    *,
    identity: Identity | None = None,
    peer: PublicKey | None = None,
    trust: Trust | KnownPeers | None = None,
    services: Services | None = None,
    timeout: float = 10.0,
    wait: float = 0.0,
    limits: Limits | None = None,
    psk: Psk | None = None,
    eager: bool = False,
) -> AsyncGenerator[Session, None]:
    """Connect to a listener and open a session: an async context manager that gives a `Session`.

    One task enters and leaves it; docs/howto/keep-a-session-open.md says what to do where that can't be.

    ``address`` is ``tcp://host:port`` (the port is 9323 if none is given), ``unix:/path``, or an anyio byte stream
    or connectable. ``identity`` is who we are, `Identity.default` if none is given. ``peer`` is the server's public
    key. Without it ``trust`` decides: with a `Trust` any server with a key in it will do, with `KnownPeers` the one
    that the file names for this address, and `KnownPeers.load` with its default file is what decides if neither is
    given. ``services`` are served to the other side; with a `Trust`, those that it allows. ``timeout`` (seconds) is
    for everything until the server's welcome. A name may have several addresses: where nobody answers, or somebody
    who is no server of ours, or one that is busy, the others are tried. While nobody listens at the address, it is
    tried again for ``wait`` seconds more: a server that is being started is waited for, one that refuses us is not.
    ``psk`` is a key that both sides share besides their identities (32 bytes, or a file with them): a server that has
    one answers nobody else. With ``eager`` the block begins one round trip earlier, and a refusal is then the error
    that ends the session.

    Raises `ConnectFailed`, `HandshakeTimeout`, `WrongPeer` (the server has another key), `UntrustedPeer` (one side
    does not trust the other's key), `HandshakeError`, `SessionClosed` with code ``busy`` (the server has too many
    sessions, or too many handshakes of our address fail: try again later), or a `ConfigError`. An exception of the
    block leaves it as it is.
    """
    expect("identity", identity, Identity, NoneType)
    expect("peer", peer, PublicKey, NoneType)
    expect("trust", trust, Trust, KnownPeers, NoneType)
    check_services(services)
    expected = await Expected.of(parse_address(address) if isinstance(address, str) else None, peer, trust)
    limits = limits or Limits()
    statics = Statics(identity or Identity.default(), Role.CLIENT, load_psk(psk))
    handshake = partial(_authenticate, statics=statics, expected=expected, limits=limits, eager=eager)
    authenticated = await _reach(address, handshake, wait, timeout)
    session = Session(
        authenticated.stream,
        client_side=True,
        peer=Peer(authenticated.key, authenticated.grant.name, name_of(address)),
        limits=limits,
        peer_limits=authenticated.peer_limits,
        services=services,
        allows=authenticated.grant.allows,
        round_trip=authenticated.round_trip,
    )
    async with session:
        yield session


async def _reach(
    address: Connectable, handshake: Callable[[ByteStream], Awaitable[Authenticated]], wait: float, timeout: float
) -> Authenticated:
    """Connect to one address after the other until a handshake succeeds, within the time."""
    progress: SessionError = ConnectFailed(f"{name_of(address)}: no answer within {wait + timeout:g} s")
    dial, transport = Dial(address), None
    try:
        async with within(wait + timeout) as countdown:
            transport = await dial.reach(wait)
            countdown.shorten(timeout)
            progress = HandshakeTimeout(f"{name_of(address)}: the handshake did not end within {timeout:g} s")
            while True:
                try:
                    return await handshake(transport)
                except (HandshakeError, SessionClosed) as exc:
                    transport = await dial.reach_another(exc)
    except BaseException:  # also when it was cancelled just after that
        if transport is not None:
            await close_at_once(transport)
        raise
    raise progress from TimeoutError()


async def _authenticate(
    transport: ByteStream, statics: Statics, expected: Expected, limits: Limits, eager: bool
) -> Authenticated:
    try:
        try:
            return await handshake_as_client(transport, statics, expected.admit, limits, eager=eager)
        finally:
            await expected.remember()  # also if the server refuses us: it has proved its key
    except BaseException:
        await close_at_once(transport)
        raise
