"""Says in a directory where we are, and frees names."""

import argparse
import random

import anyio

from chanlink import CallLost, CallRefused
from chanlink.command.output import complain, duration, note
from chanlink.command.sessions import until_stopped
from chanlink.directory import Directory, StoreFailed

from .directory_entries import FAILED, directory_of, in_time

AGAIN = 5.0
"""Seconds, at most, after which a directory that was not there is told again."""
FAREWELL = 2.0
"""Seconds to take back what was said."""


async def register(options: argparse.Namespace) -> int:
    """Register once, or with `options.keep` until interrupted; returns the exit status."""
    async with directory_of(options) as directory:
        async with in_time(options):
            await _say(directory, options)
        note(f"{options.name} is registered for {duration(options.life)}")
        if options.keep:
            await until_stopped(lambda: _keep(directory, options))
            with anyio.move_on_after(FAREWELL):
                await directory.withdraw(options.name)
    return 0


async def _say(directory: Directory, options: argparse.Namespace) -> None:
    await directory.register(options.name, options.addresses, options.service, life=options.life)


async def _keep(directory: Directory, options: argparse.Namespace) -> None:
    """Raises what a directory that is there has against us by now."""
    pause = options.life * random.uniform(1 / 3, 2 / 3)
    while True:
        await anyio.sleep(pause)
        try:
            await _say(directory, options)
            pause = options.life * random.uniform(1 / 3, 2 / 3)
        except (CallRefused, CallLost, StoreFailed) as exc:
            complain(f"{options.name} is not registered now: {exc}")
            pause = random.uniform(0, AGAIN)


async def remove(options: argparse.Namespace) -> int:
    """Free a name; returns the exit status."""
    async with directory_of(options) as directory, in_time(options):
        removed = await directory.remove(options.name)
    if removed:
        note(f"{options.name} is free")
    else:
        complain(f"nobody has the name {options.name!r}")
    return 0 if removed else FAILED
