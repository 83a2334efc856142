"""A directory as a process: the store that its options name, and its two services."""

import argparse
import os
from urllib.parse import unquote

from chanlink.command.output import note
from chanlink.command.problems import Usage
from chanlink.command.sessions import serve_until_stopped
from chanlink.directory import EtcdStore, SQLiteStore, Store, directory_services

ETCD = {"etcd": "http", "etcds": "https"}
"""By the scheme of a store: how its servers are reached."""
PREFIX = "chanlink/directory"
IN_MEMORY = "names are in memory, and free again when this process ends; --store FILE keeps them"


async def serve_directory(options: argparse.Namespace) -> None:
    """Serve a directory until interrupted."""
    async with directory_services(store_of(options)) as services:
        note(_what_keeps(options.store))
        await serve_until_stopped(options.listen, options, services)


def store_of(options: argparse.Namespace) -> Store | None:
    """What keeps the names; None for nothing. Raises `Usage` for what can't, and `ConfigError`."""
    store: str | None = options.store
    if store is None:
        return None
    scheme, is_uri, rest = store.partition("://")
    if not is_uri:
        return SQLiteStore(store)
    if scheme not in ETCD:  # what follows may hold a password, and is not repeated
        raise Usage(f"--store takes a file, or etcd://HOST:2379,... but not {scheme}://...")
    login, _, servers = rest.rpartition("@")
    hosts, _, prefix = servers.partition("/")
    user, _, password = login.partition(":")
    password = unquote(password) or os.environ.get("CHANLINK_ETCD_PASSWORD", "")
    endpoints = [f"{ETCD[scheme]}://{host.strip()}" for host in hosts.split(",")]
    where = f"/{prefix.strip('/') or PREFIX}/"
    return EtcdStore(*endpoints, prefix=where, user=unquote(user), password=password if user else "")


def _what_keeps(store: str | None) -> str:
    if store is None:
        return IN_MEMORY
    scheme, is_uri, rest = store.partition("://")
    return f"names are kept in {scheme}://{rest.rpartition('@')[2]}" if is_uri else f"names are kept in {store}"
