"""From the arguments to an event loop, and to a session or a listener."""

import argparse
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import chanlink

from .interrupts import ENDING, heeding, let_interrupts_end_us, let_interrupts_raise
from .keys import load_ours, our_identity, public_key
from .output import note
from .problems import Problem


def in_event_loop(
    function: Callable[[argparse.Namespace], Awaitable[int]],
) -> Callable[[argparse.Namespace], int]:
    """Make an action of a coroutine. Files are read before the loop starts, since that may ask for a passphrase."""

    def action(options: argparse.Namespace) -> int:
        backend, backend_options = _backend()
        if getattr(options, "address", None) is not None:
            look_up(options)  # before a key is made, or a passphrase asked for
        if hasattr(options, "identity"):
            options.loaded = load_ours(options)
        let_interrupts_end_us()
        try:
            anyio.run(checkpoint, backend=backend, backend_options=backend_options)  # which imports what it needs
            load_sessions()
        except (LookupError, ImportError) as exc:
            name = os.environ["CHANLINK_EVENT_LOOP"]
            raise Problem(
                f"CHANLINK_EVENT_LOOP={name} needs what is not installed: pip install 'chanlink[{name}]'"
            ) from exc
        let_interrupts_raise()
        return anyio.run(function, options, backend=backend, backend_options=backend_options)

    return action


def load_sessions() -> None:
    """Import what sessions need: Ctrl-C in the middle of that is to end us quietly."""
    for name in ("connect", "listen"):
        getattr(chanlink, name)


def look_up(options: argparse.Namespace) -> None:
    """What ``options.address`` says, if it is a name of the user's file: the address, and what options leave open."""
    from chanlink.transport.target import parse_target

    host = chanlink.Host.find(options.address)
    parse_target(host.address)
    options.address, options.host = host.address, host
    if options.peer is None:
        options.peer = host.key and str(host.key)
    if options.identity is None and not options.agent:
        options.identity = host.identity


def _backend() -> tuple[str, dict[str, Any]]:
    name = os.environ.get("CHANLINK_EVENT_LOOP") or "asyncio"
    if name not in ("asyncio", "uvloop", "trio"):
        raise Problem(f"CHANLINK_EVENT_LOOP={name!r} is not known; set it to asyncio, uvloop or trio")
    return ("asyncio", {"use_uvloop": True}) if name == "uvloop" else (name, {})


@asynccontextmanager
async def connected(options: argparse.Namespace) -> "AsyncGenerator[chanlink.Session, None]":
    """A session with the server at ``options.address``."""
    _silence()
    async with chanlink.connect(options.address, wait=options.wait, **await _keys_and_time(options)) as session:
        yield session


@asynccontextmanager
async def reconnecting(options: argparse.Namespace) -> "AsyncGenerator[chanlink.Link, None]":
    """A link to the server at ``options.address``. Raises what goes wrong the first time, as `connected` does."""
    async with connected(options):
        pass
    async with chanlink.reconnecting(options.address, **await _keys_and_time(options)) as link:
        yield link


async def _keys_and_time(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_expectations` has asked for, as arguments of a function that connects."""
    keys = await keys_of(options)
    trust_directory = options.trust_directory and keys["peer"] is None
    return {**keys, "timeout": options.timeout, "trust_directory": trust_directory, "proxy": options.proxy}


async def keys_of(options: argparse.Namespace) -> dict[str, Any]:
    """Who we are and whom we expect, of what `add_expectations` has asked for."""
    peer = public_key(options.peer) if options.peer is not None else None
    trust = chanlink.KnownPeers.load(options.known, first_use=options.first_use) if peer is None else None
    identity = await our_identity(options)
    return {"identity": identity, "peer": peer, "trust": trust, "psk": options.psk}


@asynccontextmanager
async def listening(
    address: str, options: argparse.Namespace, services: "chanlink.Services"
) -> "AsyncGenerator[chanlink.Listener, None]":
    """A listener; it says on standard error where it listens, and with which key."""
    from chanlink.observing import dump_on_signal

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(chanlink.PrintableLog())  # what others than us log, too
    inspection = chanlink.Inspection()
    if getattr(options, "inspect", False):
        services = {**services, inspection.SERVICE: inspection}
    trust, identity = chanlink.Trust.load(options.trust), await our_identity(options)
    async with (
        dump_on_signal(),
        chanlink.listen(
            address, identity=identity, trust=trust, revoked=options.revoked, services=services, psk=options.psk
        ) as listener,
    ):
        inspection.watch(listener)
        note(f"public key {identity.public_key}")
        note(f"listening on {' '.join(listener.addresses)}")
        yield listener


async def serve_until_stopped(address: str, options: argparse.Namespace, services: "chanlink.Services") -> None:
    """Listen until interrupted; what is at work then is cut, because it may never end by itself."""

    async def serve() -> None:
        async with listening(address, options, services):
            await anyio.sleep_forever()

    await until_stopped(serve)


async def serve_until_drained(
    address: str, options: argparse.Namespace, services: "chanlink.Services", what_runs: str
) -> None:
    """Listen until interrupted; what runs then may end, for `options.drain` seconds. A second interruption cuts it."""
    listener: chanlink.Listener | None = None
    with heeding(*ENDING) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await anext(signals)
                if listener is not None:
                    note(f"stopping: {what_runs} may end, for {options.drain:g} s; once more cuts that short")
                    tasks.start_soon(drain, listener)
                    await anext(signals)
                tasks.cancel_scope.cancel()

            async def drain(listener: "chanlink.Listener") -> None:
                await listener.drain(options.drain)
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop)
            async with listening(address, options, services) as listener:
                await anyio.sleep_forever()


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
