"""`connect`: address -> byte stream -> `NoiseStream` -> `Session`."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import NoneType
from typing import Any, TypeVar

from anyio.abc import ByteStream, ByteStreamConnectable

from chanlink import clock
from chanlink.arguments import expect
from chanlink.channels.waiting import within
from chanlink.errors import (
    ConfigError,
    ConnectFailed,
    HandshakeError,
    HandshakeTimeout,
    HopFailed,
    SessionClosed,
    SessionError,
)
from chanlink.handover.local import Local
from chanlink.instrument import Instrument, told
from chanlink.limits import MAX_RESUME, Limits
from chanlink.security.early_stream import Begun
from chanlink.security.handshake import Authenticated, handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Trust
from chanlink.security.payloads import SERVICE_MAX
from chanlink.security.psk import Psk, load_psk
from chanlink.security.security import Security, check_security, side_of
from chanlink.security.statics import Statics
from chanlink.transport.base import close_at_once
from chanlink.transport.carried import Carrier, CarrierAttribute, Means
from chanlink.transport.dial import Connectable, Dial, name_of, target_of
from chanlink.transport.target import Target

from .coming_back import resumable
from .early import Begin, Prekeys, check_early
from .hops import Hop, Way, read_way
from .local_connecting import check_local, connect_locally
from .naming import Finder, Resolver, finder
from .proxied import means_of, proxy_of
from .route import Reaches, check_known, check_leads, explaining, leads_through, limits_through, routed, while_not_there
from .services import Services, check_services
from .session import Session, session_with
from .telling import attempting
from .vouching import Vouching, ours_of

T = TypeVar("T")


@asynccontextmanager
async def connect(
    address: Connectable | Local,
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
    resume: float = 0.0,
    early: bool = False,
    known_prekeys: Prekeys | None = None,
    directory: Resolver | str | None = None,
    trust_directory: bool = False,
    service: str = "",
    via: Way = (),
    security: Security | None = None,
    proxy: str | None = None,
    instruments: Collection[Instrument] = (),
) -> AsyncGenerator[Session, None]:
    """Connect to a listener and open a session: an async context manager that gives a `Session`.

    One task enters and leaves it; docs/howto/keep-a-session-open.md says what to do where that can't be.

    - ``address`` is ``tcp://host:port`` (the port is 9323 if none is given), ``unix:/path``, ``wss://host/path`` (see
      `WebSocket`), ``chanlink://name``, or an anyio byte stream or connectable. A name may have several addresses:
      where nobody answers, or somebody who is no server of ours, or one that is busy, the others are tried.
      With a `Local`, the daemon of this machine connects, and has the keys: what is said of keys and of servers here
      (``identity``, ``peer``, ``trust``, ``psk``, ``directory``) does not go with that, nor does ``early``.
    - ``identity`` is who we are, `Identity.default` if none is given.
    - ``peer`` is the server's public key. Without it ``trust`` decides: with a `Trust` any server with a key in it will
      do, with `KnownPeers` the one that the file names for this address. If neither is given, `KnownPeers.load` with
      its default file decides.
    - ``services`` are served to the other side; with a `Trust`, those that it allows.
    - ``timeout`` (seconds) is for everything until the server's welcome.
    - ``wait`` (seconds): while nobody listens at the address, it is tried again for so long. A server that is being
      started is waited for, one that refuses us is not.
    - ``psk`` is a key that both sides share besides their identities (32 bytes, or a file with them): a server that has
      one answers nobody else.
    - ``directory`` knows where ``chanlink://name`` is: a `chanlink.directory.Directory`, or its address and key as a
      text, ``tcp://host:port ssh-ed25519 AAAA...``. Without it that is ``$CHANLINK_DIRECTORY``. With
      ``trust_directory`` it is also believed which key a server has, where the file of known peers does not say it.
    - With ``eager`` the block begins one round trip earlier, and a refusal is then the error that ends the session.
    - ``resume`` (seconds): the session outlives its connection. When that breaks, or the network is another one, this
      side connects again for so long, or for as long as the server allows (`Limits.resume`): nothing is lost, and
      `Session.state` is ``away`` meanwhile. It needs an address to come back to, and does not go with ``eager``.
    - With ``early``, what is sent first leaves with the first message, so that its answer comes a round trip after the
      connection, from a service that takes early data (`service`). The block begins when there is a connection, and
      what goes wrong then is the error that ends the session. It needs a prekey, which the session before has brought;
      ``known_prekeys`` is the file where these are kept (``~/.cache/chanlink/known_prekeys`` if none is given), or a
      `KnownPrekeys`. Without one, this session begins as any other. Not with ``psk``, ``resume`` or ``eager``. What may
      happen to early data that can't to other data: docs/howto/send-with-the-first-message.md. `Session.early` says
      what became of it.
    - With ``service`` the session is for this service of the server alone, whatever else our key may use there: any
      other one is refused, also if somebody takes over this process later. A server of chanlink 0.1 knows of no such
      sessions (`ServerTooOld`), and a daemon that passes sessions on by their service needs it.
    - With ``security``, `nacl_tls`, TLS 1.3 takes the place of Noise; the server has to say the same. Not with ``psk``,
      ``resume`` or ``early``; the gateways of ``via`` are met by Noise.
    - ``via``: gateways (``chanlink gateway``, or ``chanlink forward --serve``) that lead to the address, the nearest
      first. Each is an address, a `Hop`, or, the first, a `Session` that you have with it. They can't read what is
      said. The last one looks the host of the address up; what does not lead to another machine can't be reached so.
      A session that is resumed comes back by whichever of the gateways of a hop is there.
    - ``proxy``, ``socks5://[user:password@]host:port`` or ``http://[user:password@]host:port``, makes the connections
      of TCP, and finds out where hosts are. Of ``via``, it leads to the first one. A ``directory`` is asked
      without it. Nothing is taken from the environment.
    - ``instruments`` are told what the session and its channels do.

    Raises `ConnectFailed` (`HopFailed` if a gateway is why), `HandshakeTimeout`, `WrongPeer` (the server has another
    key), `UntrustedPeer` (one side does not trust the other's key), `HandshakeError`, `SessionClosed` with code
    ``busy`` (the server has too many sessions, or too many handshakes of our address fail: try again later), or a
    `ConfigError`. An exception of the block leaves it as it is.
    """
    expect("address", address, str, ByteStream, ByteStreamConnectable, Local)
    expect("wait", wait, int, float)
    expect("eager", eager, bool)
    check_options(identity, peer, trust, services, timeout, limits, psk)
    check_resume(resume, address, eager=eager)
    check_directory(directory, trust_directory)
    check_service(service)
    check_security(security, psk=psk, resume=resume, early=early)
    hops = read_way(via)
    by = proxy_of(proxy, address, hops)
    if isinstance(address, Local):
        check_local(
            address, service, identity, peer, trust, psk, directory, trust_directory, early, via or None, security
        )
        async with connect_locally(
            address,
            services=services,
            timeout=timeout,
            wait=wait,
            limits=limits or Limits(),
            eager=eager,
            resume=resume,
            instruments=told(instruments),
        ) as session:
            yield session
        return
    target = target_of(address)
    at_once = check_early(early, known_prekeys, target, peer, psk=psk, resume=resume, eager=eager)
    check_leads(address, target, hops)
    expected = await Expected.of(target, peer, trust, trust_directory)
    check_known(target, hops, peer, expected)
    find = finder(target, directory, expected)
    limits, all_told = limits_through(limits, target, hops), told(instruments)
    statics = Statics(identity or Identity.default(), Role.CLIENT, load_psk(psk))
    side = side_of(security, statics, limits)
    reaches = partial(_reach_hop, identity=statics.identity, trust=trust, directory=directory, proxy=proxy)
    async with _meaning(hops, target, reaches, timeout, means_of(by, str(statics.identity.public_key))) as means:
        begun = None
        if at_once is not None:
            with attempting(all_told, name_of(address)):
                began = clock.now()
                begins = at_once.begin(expected, statics, limits, timeout, find, service)
                begin = await _begins(begins, name_of(address), timeout)
                timeout -= clock.now() - began
                if begin is not None:
                    begun = await _begin(address, find, means, begin, wait, timeout)
        if at_once is not None and begun is not None:
            session = session_with(
                begun,
                name_of(address),
                client_side=True,
                limits=limits,
                services=services,
                instruments=all_told,
                vouching=vouching_for(begun, expected, statics),
            )
            try:
                async with session:
                    yield session
            finally:
                await at_once.ended(begun.stream)
            return
        how: dict[str, Any] = {"eager": eager, "service": service}
        if side is None:
            proves = partial(handshake_as_client, statics=statics, limits=limits, resume=resume, early=early, **how)
        else:
            proves = partial(side.as_client, **how)
        handshake = partial(_authenticate, proves=proves, expected=expected)
        with attempting(all_told, name_of(address)):
            attempt = partial(_reach, Dial(address, find, means), handshake, timeout=timeout)
            authenticated = await while_not_there(attempt, wait)
        if at_once is not None:
            try:
                await at_once.keep(authenticated.stream.welcome.get("prekey", b""))
            except BaseException:
                await close_at_once(authenticated.stream)
                raise
        vouching = vouching_for(authenticated, expected, statics)
        session = session_with(
            authenticated,
            name_of(address),
            client_side=True,
            limits=limits,
            services=services,
            instruments=all_told,
            below=resumable(authenticated, partial(Dial, address, find, means), statics, expected, limits, vouching),
            vouching=vouching,
        )
        async with session:
            yield session


def check_options(
    identity: object, peer: object, trust: object, services: object, timeout: object, limits: object, psk: object
) -> None:
    """Raise `TypeError` unless these are what `connect` takes."""
    expect("identity", identity, Identity, NoneType)
    expect("peer", peer, PublicKey, NoneType)
    expect("trust", trust, Trust, KnownPeers, NoneType)
    check_services(services)
    expect("timeout", timeout, int, float)
    expect("limits", limits, Limits, NoneType)
    expect("psk", psk, bytes, str, os.PathLike, NoneType)


def check_resume(resume: float, address: object, *, eager: bool = False) -> None:
    """Raise `TypeError`, or `ConfigError`, unless a session with this address can be resumed for so long."""
    expect("resume", resume, int, float)
    if not 0 <= resume <= MAX_RESUME:
        raise ConfigError(f"resume must be 0 to {MAX_RESUME:.0f} seconds")
    if resume and isinstance(address, ByteStream):
        raise ConfigError("there is no way back to a byte stream: resume needs an address, or a connectable")
    if resume and eager:
        raise ConfigError("resume and eager don't go together: what can be resumed is said in the server's welcome")
    target = target_of(address) if resume else None
    if isinstance(target, Carrier) and not target.resumes:
        raise ConfigError(f"{target}: each connection leads to another process, and resume needs the same one")


def check_directory(directory: object, trust_directory: object) -> None:
    """Raise `TypeError` unless these are what `connect` takes."""
    expect("directory", directory, Resolver, str, NoneType)
    expect("trust_directory", trust_directory, bool)


def check_service(service: str) -> None:
    """Raise `TypeError`, or `ConfigError`, unless a session may be for this service alone."""
    expect("service", service, str)
    if len(service.encode()) > SERVICE_MAX:
        raise ConfigError(f"the name of a service has 1 to {SERVICE_MAX} bytes of UTF-8")


def vouching_for(found: Authenticated | Begun, expected: Expected, statics: Statics) -> Vouching:
    """What vouches for the server that was found, and for this side."""
    return Vouching(found.presented, found.grant, expected.admit, ours_of(statics))


@asynccontextmanager
async def _meaning(
    hops: Sequence[Hop | Session], target: Target | None, reaches: Reaches, timeout: float, direct: Means
) -> AsyncGenerator[Means, None]:
    """A block with the means of a session: gateways, where some are on its way, or may be."""
    if not leads_through(target, hops):
        yield direct
        return
    async with routed(hops, reaches, timeout) as route:
        means = route.means(direct.key)
        yield means if hops else means._replace(tcp=direct.tcp, by=direct.by)


def _reach_hop(
    address: Any,
    hop: Hop,
    below: Session | None,
    timeout: float,
    *,
    identity: Identity,
    trust: Trust | KnownPeers | None,
    directory: Resolver | str | None,
    proxy: str | None,
) -> AbstractAsyncContextManager[Session]:
    """A session with a gateway. It is not resumed: when it breaks, so does what is inside, and that comes back."""
    return connect(
        address,
        identity=hop.identity or identity,
        peer=hop.peer,
        trust=trust if hop.peer is None else None,
        timeout=timeout,
        directory=directory,
        via=() if below is None else (below,),
        proxy=proxy if below is None else None,
    )


async def _reach(dial: Dial, handshake: Callable[[ByteStream], Awaitable[T]], wait: float, timeout: float) -> T:
    """Connect to one address after the other until a handshake succeeds, within the time."""
    progress: SessionError = ConnectFailed(f"{dial.name}: no answer within {wait + timeout:g} s")
    transport = None
    try:
        async with within(wait + timeout) as countdown:
            transport = await dial.reach(wait)
            countdown.shorten(timeout)
            progress = HandshakeTimeout(f"{dial.name}: the handshake did not end within {timeout:g} s")
            while True:
                try:
                    return await explaining(handshake, transport)
                except (HandshakeError, SessionClosed, HopFailed) as exc:
                    transport = await dial.reach_another(exc)
    except BaseException:  # also when it was cancelled just after that
        if transport is not None:
            await close_at_once(transport)
        raise
    raise progress from TimeoutError()


async def _begins(begins: Awaitable[Begin | None], name: str, timeout: float) -> Begin | None:
    """What begins at once, if a directory, or an agent, that is asked for it answers within the time."""
    async with within(timeout):
        return await begins
    raise ConnectFailed(f"{name}: no answer within {timeout:g} s") from TimeoutError()


async def _begin(
    address: Connectable, find: Finder | None, means: Means, begin: Begin, wait: float, timeout: float
) -> Begun | None:
    """What has begun at once. None if the server of the prekey is not there, and others may have its name."""
    if find is None:
        return await _reach(Dial(address, None, means), begin, wait, timeout)
    try:
        return await _reach(Dial(address, find.only(begin.key), means), begin, 0.0, timeout)
    except ConnectFailed:
        return None


async def _authenticate(
    transport: ByteStream, *, proves: Callable[..., Awaitable[Authenticated]], expected: Expected
) -> Authenticated:
    try:
        vouched = transport.extra(CarrierAttribute.vouched_key, "")
        if vouched:
            expected.believe(PublicKey.parse(vouched))
        try:
            return await proves(transport, admit=expected.admit)
        finally:
            await expected.remember()  # also if the server refuses us: it has proved its key
    except BaseException as exc:
        why = transport.extra(CarrierAttribute.why_ended, None)
        if why is not None and type(exc) is HandshakeError and (words := await why()):
            await close_at_once(transport)
            raise ConnectFailed(f"{words}; it should carry a session by its standard input and output") from exc
        await close_at_once(transport)
        raise
