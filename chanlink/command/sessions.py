"""From the arguments to an event loop, and to a session or a listener."""

import argparse
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import chanlink
from chanlink.transport.address import parse_address

from .interrupts import ENDING, heeding, let_interrupts_end_us, let_interrupts_raise
from .keys import load_ours, our_identity, public_key
from .output import note
from .problems import Problem

Services = Mapping[str, Any]
"""Functions by the names under which they are served, as `chanlink.listen` takes them."""


def in_event_loop(
    function: Callable[[argparse.Namespace], Awaitable[int]],
) -> Callable[[argparse.Namespace], int]:
    """Make an action of a coroutine. Files are read before the loop starts, since that may ask for a passphrase."""

    def action(options: argparse.Namespace) -> int:
        backend, backend_options = _backend()
        if getattr(options, "address", None) is not None:
            parse_address(options.address)  # before a key is made, or a passphrase asked for
        if hasattr(options, "identity"):
            options.loaded = load_ours(options)
        let_interrupts_end_us()
        try:
            anyio.run(checkpoint, backend=backend, backend_options=backend_options)  # which imports what it needs
        except (LookupError, ImportError) as exc:
            name = os.environ["CHANLINK_EVENT_LOOP"]
            raise Problem(f"CHANLINK_EVENT_LOOP={name} needs what is not installed: pip install {name}") from exc
        let_interrupts_raise()
        return anyio.run(function, options, backend=backend, backend_options=backend_options)

    return action


def _backend() -> tuple[str, dict[str, Any]]:
    name = os.environ.get("CHANLINK_EVENT_LOOP") or "asyncio"
    if name not in ("asyncio", "uvloop", "trio"):
        raise Problem(f"CHANLINK_EVENT_LOOP={name!r} is not known; set it to asyncio, uvloop or trio")
    return ("asyncio", {"use_uvloop": True}) if name == "uvloop" else (name, {})


@asynccontextmanager
async def connected(options: argparse.Namespace) -> AsyncGenerator[chanlink.Session, None]:
    """A session with the server at ``options.address``."""
    _silence()
    peer = public_key(options.peer) if options.peer is not None else None
    trust = chanlink.KnownPeers.load(options.known, first_use=options.first_use) if peer is None else None
    async with chanlink.connect(
        options.address,
        identity=await our_identity(options),
        peer=peer,
        trust=trust,
        timeout=options.timeout,
        wait=options.wait,
        psk=options.psk,
    ) as session:
        yield session


@asynccontextmanager
async def listening(
    address: str, options: argparse.Namespace, services: Services
) -> AsyncGenerator[chanlink.Listener, None]:
    """A listener; it says on standard error where it listens, and with which key."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(chanlink.PrintableLog())  # what others than us log, too
    inspection = chanlink.Inspection()
    if getattr(options, "inspect", False):
        services = {**services, inspection.SERVICE: inspection}
    trust, identity = chanlink.Trust.load(options.trust), await our_identity(options)
    async with chanlink.listen(address, identity=identity, trust=trust, services=services, psk=options.psk) as listener:
        inspection.watch(listener)
        note(f"public key {identity.public_key}")
        note(f"listening on {' '.join(listener.addresses)}")
        yield listener


@asynccontextmanager
async def asking(session: chanlink.Session, service: str) -> AsyncGenerator[chanlink.Sender[Any], None]:
    """A channel to a service, for messages with ends: if the service is refused, they fail for the same reason."""
    async with await session.open(service) as requests:
        try:
            yield requests
        except chanlink.ChannelFailed as exc:
            if exc.code == "not-taken":  # because nobody took the message that they were in
                with anyio.move_on_after(1.0):
                    raise await requests.wait_closed() from exc
            raise


async def serve_until_stopped(address: str, options: argparse.Namespace, services: Services) -> None:
    """Listen until interrupted; what is at work then is cut, because it may never end by itself."""

    async def serve() -> None:
        async with listening(address, options, services):
            await anyio.sleep_forever()

    await until_stopped(serve)


async def until_stopped(function: Callable[[], Awaitable[None]]) -> None:
    """Call a function that may go on for ever, until it is done or somebody interrupts us."""
    # From the beginning: whoever has read that we are listening may interrupt us at once.
    with heeding(*ENDING) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await anext(signals)
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop)
            await function()
            tasks.cancel_scope.cancel()


def _silence() -> None:
    """Keep quiet what the library logs: the user is told the same in a line of ours."""
    logging.getLogger("chanlink").addHandler(logging.NullHandler())
    if logging.lastResort is not None:
        logging.lastResort.addFilter(chanlink.PrintableLog())
