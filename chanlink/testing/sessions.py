"""Two sessions joined in memory."""

import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream as AnyByteStream

from chanlink import Limits, Peer, Session, byte_pipe
from chanlink.session.services import Services

PEER = Peer(None, "the other side", "memory")
"""Who the other side of a session in memory is."""


@asynccontextmanager
async def session_pair(
    limits: Limits | None = None,
    server_limits: Limits | None = None,
    *,
    services: Services | None = None,
    client_services: Services | None = None,
    allows: Callable[[str], bool] | None = None,
    wire: Callable[[AnyByteStream], AnyByteStream] | None = None,
) -> AsyncGenerator[tuple[Session, Session], None]:
    """Two sessions, joined in memory: an async context manager that gives the client's and the server's.

    There is no handshake between them and nothing is encrypted; all else is as over a network. ``limits`` are the
    client's, and the server's too if ``server_limits`` is not given. ``services`` are served by the server,
    ``client_services`` by the client; without them, channels come out of `Session.accept`. ``allows`` says which
    services the client may use. ``wire`` is called for the byte stream of either side, the client's first, and
    returns what to use in its place, such as a `FaultyStream`.

    The server's side lives in a task of its own. Both sessions are closed when the block is left; an exception of
    the block leaves it as it is.
    """
    limits = limits or Limits()
    server_limits = server_limits or limits
    here, there = (wire(stream) if wire is not None else stream for stream in byte_pipe())
    client = Session(here, client_side=True, services=client_services, **_about(limits, server_limits))
    server = Session(there, client_side=False, services=services, allows=allows, **_about(server_limits, limits))
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


def _about(ours: Limits, theirs: Limits) -> dict[str, Any]:
    """What the handshake would have told a session."""
    return {"peer": dataclasses.replace(PEER), "limits": ours, "peer_limits": theirs.announced()}


async def _live(session: Session, ready: anyio.Event, done: anyio.Event) -> None:
    async with session:
        ready.set()
        await done.wait()
