"""What stands in a directory, as lines or as JSON."""

import argparse
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any

import anyio

from chanlink import PublicKey, printable
from chanlink.command.output import complain, duration, note, print_json, table
from chanlink.command.problems import Problem
from chanlink.command.sessions import keys_of
from chanlink.directory import Directory, Entry, Gone, open_directory

FAILED = 1
"""No server has such a name."""


@asynccontextmanager
async def directory_of(options: argparse.Namespace) -> AsyncGenerator[Directory, None]:
    """The directory that the options name, or the environment."""
    keys = await keys_of(options)
    text = os.environ.get("CHANLINK_DIRECTORY", "") if options.directory is None else options.directory
    address, _, key = text.strip().partition(" ")
    options.address = "ADDRESS" if "," in text else address  # for errors about keys
    options.says_key = ("$CHANLINK_DIRECTORY" if options.directory is None else "--directory") if key else None
    async with open_directory(options.directory, **keys, timeout=options.timeout, wait=options.wait) as directory:
        yield directory


@asynccontextmanager
async def in_time(options: argparse.Namespace) -> AsyncGenerator[None, None]:
    """Raise `Problem` if an answer takes longer than connecting may."""
    try:
        with anyio.fail_after(options.timeout):
            yield
    except TimeoutError as exc:
        raise Problem(f"the directory did not answer within {options.timeout:g} s") from exc


async def show_list(options: argparse.Namespace) -> int:
    """The names that match; returns the exit status."""
    async with directory_of(options) as directory, in_time(options):
        entries = await directory.entries()
    patterns: list[str] = options.patterns
    missing = [one for one in patterns if not any(fnmatchcase(entry.name, one) for entry in entries)]
    if patterns:
        entries = [entry for entry in entries if any(fnmatchcase(entry.name, one) for one in patterns)]
    _show(entries, options)
    for one in missing:
        complain(f"{one!r} matches no name that is there now")
    if not entries and not missing:
        note("no server is registered now")
    return FAILED if missing else 0


async def show_name(options: argparse.Namespace) -> int:
    """The servers of one name; returns the exit status."""
    async with directory_of(options) as directory, in_time(options):
        entries = await directory.lookup(options.name, fresh=True)
    _show(entries, options)
    if not entries:
        complain(f"no server has the name {options.name!r} now: is it spelt right, and is the server running?")
    return 0 if entries else FAILED


async def show_changes(options: argparse.Namespace) -> int:
    """What there is, and then what changes, until interrupted."""
    async with directory_of(options) as directory, aclosing(directory.changes(options.prefix)) as changes:
        async for change in changes:
            if options.json:
                print_json(change_as_map(change))
            else:
                print(change_as_line(change), flush=True)
    return 0


def _show(entries: Sequence[Entry], options: argparse.Namespace) -> None:
    if options.json:
        print_json([as_map(entry) for entry in entries])
    elif entries:
        print("\n".join(table([_as_row(entry) for entry in entries])))


def _as_row(entry: Entry) -> list[str]:
    addresses = " ".join(map(printable, entry.addresses)) or "no address"
    return [printable(entry.name), addresses, duration(entry.expires_in), entry.key.fingerprint]


def as_map(entry: Entry) -> dict[str, Any]:
    """For programs."""
    return {
        "name": entry.name,
        "addresses": list(entry.addresses),
        "services": list(entry.services),
        "public_key": str(PublicKey(entry.key.raw)),
        "fingerprint": entry.key.fingerprint,
        "expires_in": round(entry.expires_in, 1),
        "serial": entry.serial,
    }


def change_as_map(change: Entry | Gone | None) -> dict[str, Any]:
    """One entry: what it is about."""
    if change is None:
        return {"current": True}
    if isinstance(change, Gone):
        key = PublicKey(change.key)
        return {"gone": {"name": change.name, "public_key": str(key), "fingerprint": key.fingerprint}}
    return {"there": as_map(change)}


def change_as_line(change: Entry | Gone | None) -> str:
    """``+`` or ``-``, the name, and what belongs to it."""
    if change is None:
        return ""
    if isinstance(change, Gone):
        return f"- {printable(change.name)}  {PublicKey(change.key).fingerprint}"
    return "+ " + "  ".join(_as_row(change))
