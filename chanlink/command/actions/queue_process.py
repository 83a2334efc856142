"""A whole queue as a process: the store that its options name, and its services."""

import argparse
from collections.abc import Mapping
from typing import Any

from chanlink.command.output import note
from chanlink.command.problems import Usage
from chanlink.command.sessions import serve_until_drained
from chanlink.patterns import PostgresStore, SQLiteStore, WorkQueue, work_queue

POSTGRES = ("postgresql://", "postgres://")
DEFAULT_QUEUE = "default"
IN_MEMORY = "the jobs are in memory, and gone when this process ends; --store FILE keeps them"


async def serve_queue(options: argparse.Namespace) -> None:
    """Serve a queue until interrupted, and then as long as its jobs run, for `options.drain` seconds."""
    async with work_queue(
        store=store_of(options), silence=options.silence, attempts=options.attempts, most=options.most
    ) as queue:
        note(await _what_is_there(queue, options))
        await serve_until_drained(options.listen, options, services_of(queue, options.service), "jobs that run")


def store_of(options: argparse.Namespace) -> SQLiteStore | PostgresStore | None:
    """What keeps the jobs; None for nothing. Raises `Usage` for options that are of another store."""
    store: str | None = options.store
    is_database = store is not None and store.startswith(POSTGRES)
    if options.queue is not None and not is_database:
        raise Usage("--queue is the name of a queue in a database; give --store postgresql://..., too")
    if options.fsync is not None and (store is None or is_database):
        raise Usage("--fsync and --no-fsync are for a file: give --store FILE")
    if store is None:
        return None
    if is_database:
        return PostgresStore(store, DEFAULT_QUEUE if options.queue is None else options.queue)
    scheme, is_uri, _ = store.partition("://")
    if is_uri:  # what follows may hold a password, and is not repeated
        raise Usage(f"--store takes a file or postgresql://..., not {scheme}://...")
    return SQLiteStore(store, fsync=options.fsync is not False)


def services_of(queue: WorkQueue[Any, Any], name: str) -> Mapping[str, Any]:
    """The queue, and what it is for those who may do a part of it, so that a trust file can tell them apart."""
    return {
        name: queue,
        f"{name}.submit": queue.service("submit", "find", "cancel"),
        f"{name}.work": queue.service("work"),
        f"{name}.look": queue.service("status", "failed"),
    }


async def _what_is_there(queue: WorkQueue[Any, Any], options: argparse.Namespace) -> str:
    if options.store is None:
        return IN_MEMORY
    there = await queue.status()
    where = (
        f"queue {options.queue or DEFAULT_QUEUE} of a database" if options.store.startswith(POSTGRES) else options.store
    )
    return f"the jobs are kept in {where}: {there.waiting + there.delayed:,} wait, {there.failed:,} have failed"
