"""From a local application to another machine: the host that it names is found, met, and shown the user's key."""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from chanlink.channels.waiting import within
from chanlink.errors import (
    AddressError,
    ConfigError,
    ConnectFailed,
    HandshakeError,
    HandshakeTimeout,
    ServerTooOld,
    SessionClosed,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.features import CREDENTIAL_RENEWAL, ONE_SERVICE
from chanlink.handover.messages import TEXT_MAX, Connect, Refused
from chanlink.limits import Limits
from chanlink.naming.resolving import Configured
from chanlink.naming.setting import VARIABLE
from chanlink.printing import printable
from chanlink.security.handshake import answer_to, ask, finish_as_client
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.hosts import Host
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.threads import run_apart
from chanlink.security.showing import agreed_of
from chanlink.security.statics import Statics
from chanlink.session.naming import finder
from chanlink.transport.address import is_good_name
from chanlink.transport.base import Transport, close_at_once
from chanlink.transport.dial import Dial, Find
from chanlink.transport.target import Target, parse_target

from .bounds import Full
from .folder import Folder
from .handing import Handshake, Keys

LONGEST = 30.0
"""Seconds for which a host is tried."""
FEATURES_MAX = 1_024
"""Bytes of an application's features: message 3 has 4,096 in all."""


class Refusal(Exception):
    """The application gets no session, for a reason that it is told."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class Found(NamedTuple):
    """Where a host is, and which key it should have."""

    address: str
    target: Target
    expected: Expected
    find: Find | None


class Outgoing:
    """Connects to hosts."""

    def __init__(self, folder: Folder, directory: Callable[[], str]) -> None:
        self._folder = folder
        self._directory = directory

    async def reach(
        self, statics: Statics, service: str, request: Connect, limits: Mapping[str, int]
    ) -> tuple[Transport, Handshake]:
        """Connect to the host of a request, up to message 3. Raises what `refused` explains.

        Whoever calls closes the transport.
        """
        if sum(map(len, request.features)) > FEATURES_MAX:
            raise Refusal("bad-request", "its features are too long")
        seconds = LONGEST if request.milliseconds is None else min(request.milliseconds / 1_000, LONGEST)
        async with within(seconds):
            found = await self._find(request.host)
            dial = Dial(found.address, found.find)
            transport = await dial.reach()
            while True:
                try:
                    return transport, await _meet(transport, statics, found, service, request, limits)
                except (HandshakeError, SessionClosed) as exc:
                    transport = await dial.reach_another(exc)
        raise HandshakeTimeout(f"{request.host}: no answer within {seconds:g} s")

    async def _find(self, host: str) -> Found:
        """Raises `Refusal`, `ConfigError`."""
        if not is_good_name(host):
            raise Refusal("no-such-host", f"{printable(host)[:200]!r} is no name of a host")
        known_host = (await run_apart(Host.load_each, self._folder.hosts)).get(host)
        if isinstance(known_host, ConfigError):  # of this one: the others are none of its business
            raise known_host
        address, key = (known_host.address, known_host.key) if known_host else (f"chanlink://{host}", None)
        target = parse_target(address)
        known = await run_apart(KnownPeers.load, self._folder.known_peers) if key is None else None
        expected = await Expected.of(target, key, known)
        directory = self._directory() or os.environ.get(VARIABLE, "")
        if address.startswith("chanlink://") and not directory:
            raise Refusal("no-such-host", f"{host} is not in the daemon's hosts.toml, and it asks no directory")
        resolver = Configured(directory, await run_apart(self._folder.host), known) if directory else None
        return Found(address, target, expected, finder(target, resolver, expected))


async def _meet(
    transport: Transport,
    statics: Statics,
    found: Found,
    service: str,
    request: Connect,
    limits: Mapping[str, int],
) -> Handshake:
    """The handshake up to message 3. Raises as `connect` does, and the transport is closed then."""
    try:
        return await _authenticate(transport, statics, found, service, request, limits)
    except BaseException:
        await close_at_once(transport)
        raise


async def _authenticate(
    transport: Transport,
    statics: Statics,
    found: Found,
    service: str,
    request: Connect,
    limits: Mapping[str, int],
) -> Handshake:
    noise, shown, answered = await ask(transport, statics)
    try:
        grant = found.expected.admit(answered.presented)
    finally:
        await found.expected.remember()
    features = (set(request.features) - {CREDENTIAL_RENEWAL}) | {ONE_SERVICE}
    answer = answer_to(answered, shown, Limits(), features, service)
    answer["limits"] = dict(limits)
    if request.resume is not None:
        answer["resume"] = request.resume
    if request.session is not None:
        answer["session"] = request.session
    return Handshake(
        keys=Keys(await finish_as_client(transport, noise, answer)),
        suite=answered.suite.name,
        presented=answered.presented,
        grant=grant,
        peer_limits=answered.peer_limits,
        features=agreed_of(features, answered.offer),
        round_trip=answered.round_trip,
        limits=limits,
        identity=statics.identity.public_key,
        address=found.address,
    )


def refused(problem: Exception) -> Refused:
    """What an application is told of a problem. Raises what is a defect of ours again."""
    expected = found = None
    match problem:
        case Refusal(code=code, text=text):
            pass
        case Full():
            code, text = "busy", f"too much at a time: {problem}"
        case WrongPeer():
            code, text, expected, found = "wrong-peer", str(problem), problem.expected, problem.actual
        case UntrustedPeer():
            code, text, found = "untrusted", problem.advice or str(problem), problem.fingerprint
        case ServerTooOld():
            code, text = "server-too-old", str(problem)
        case HandshakeTimeout():
            code, text = "timeout", str(problem)
        case HandshakeError():
            code, text = "handshake-failed", str(problem)
        case SessionClosed():
            code, text = "busy", problem.text or str(problem)
        case ConnectFailed(__cause__=LookupError()):
            code, text = "no-such-host", str(problem)
        case ConnectFailed():
            code, text = "unreachable", str(problem)
        case AddressError() | ConfigError():
            code, text = "handshake-failed", f"the daemon's files are not as they should be: {problem}"
        case OSError():
            code, text = "busy", f"the daemon can't write the session down: {problem.strerror}"
        case _:
            raise problem
    return Refused(code=code, text=printable(text)[:TEXT_MAX], expected=expected, found=found)
