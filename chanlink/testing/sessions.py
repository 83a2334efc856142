"""Sessions without a handshake: over one byte stream, or two that are joined in memory."""

import dataclasses
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from types import NoneType
from typing import Any

import anyio
from anyio.abc import ByteStream as AnyByteStream

from chanlink import Limits, Peer, Session, byte_pipe
from chanlink.arguments import expect, expect_function
from chanlink.instrument import Instrument, told
from chanlink.security.stream import PlainStream
from chanlink.session.services import Services, check_services

PEER = Peer(None, "the other side", "memory")
"""Who the other side of a session in memory is."""


def session_over(stream: AnyByteStream, *, client_side: bool, peer: Peer | None = None, **options: Any) -> Session:
    """A session over one byte stream **in the clear**, for tests: nothing is encrypted, and nobody proves anything.

    The session is an async context manager. The two sides agree which of them is ``client_side``; ``peer`` is what this
    side takes the other for. ``options`` are what a handshake would have told it: ``limits`` and ``peer_limits``, what
    the other side takes; ``services``; ``allows``, which says what services the other side may use; ``instruments``.

    Raises `chanlink.ConfigError` for a stream that goes over a network socket, be it to this machine.
    """
    expect("stream", stream, AnyByteStream)
    expect("client_side", client_side, bool)
    expect("peer", peer, Peer, NoneType)
    check_services(options.get("services"))
    options["instruments"] = told(options.get("instruments", ()))
    return Session(PlainStream(stream), client_side=client_side, peer=peer or dataclasses.replace(PEER), **options)


@asynccontextmanager
async def session_pair(
    limits: Limits | None = None,
    server_limits: Limits | None = None,
    *,
    services: Services | None = None,
    client_services: Services | None = None,
    allows: Callable[[str], bool] | None = None,
    wire: Callable[[AnyByteStream], AnyByteStream] | None = None,
    features: Collection[str] | None = None,
    instruments: Collection[Instrument] = (),
    server_instruments: Collection[Instrument] = (),
) -> AsyncGenerator[tuple[Session, Session], None]:
    """Two sessions, joined in memory: an async context manager that gives the client's and the server's.

    There is no handshake between them and nothing is encrypted; all else is as over a network. ``limits`` are the
    client's, and the server's too if ``server_limits`` is not given. ``services`` are served by the server,
    ``client_services`` by the client; without them, channels come out of `Session.accept`. ``allows`` says which
    services the client may use. ``wire`` is called for the byte stream of either side, the client's first, and
    returns what to use in its place, such as a `FaultyStream`. ``features`` are those that both sides have listed
    (protocol section 2.3); all that there are if it is not given, and none as with a peer of chanlink 0.1.
    ``instruments`` are the client's.

    The server's side lives in a task of its own. Both sessions are closed when the block is left; an exception of
    the block leaves it as it is.
    """
    expect("limits", limits, Limits, NoneType)
    expect("server_limits", server_limits, Limits, NoneType)
    for name, function in {"allows": allows, "wire": wire}.items():
        if function is not None:
            expect_function(name, function)
    limits = limits or Limits()
    server_limits = server_limits or limits
    here, there = (wire(stream) if wire is not None else stream for stream in byte_pipe())
    ours, theirs = _about(limits, server_limits, features), _about(server_limits, limits, features)
    client = session_over(here, client_side=True, services=client_services, instruments=instruments, **ours)
    theirs["instruments"] = told(server_instruments, "server_instruments") or ()
    server = session_over(there, client_side=False, services=services, allows=allows, **theirs)
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        ready, done = anyio.Event(), anyio.Event()
        tasks.start_soon(_live, server, ready, done)
        await ready.wait()
        try:
            async with client:
                yield client, server
        except Exception as exc:  # a task group would wrap it in a group
            error = exc
        done.set()
    if error is not None:
        raise error


def _about(ours: Limits, theirs: Limits, features: Collection[str] | None) -> dict[str, Any]:
    """What the handshake would have told a session."""
    agreed = {} if features is None else {"features": features}
    return {"limits": ours, "peer_limits": theirs.announced(), **agreed}


async def _live(session: Session, ready: anyio.Event, done: anyio.Event) -> None:
    async with session:
        ready.set()
        await done.wait()
