"""`EtcdStore`: the entries of any number of directories, in etcd."""

import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import anyio
from anyio import AsyncContextManagerMixin, CancelScope

from chanlink import CallFailed, ConfigError, StoreError
from chanlink.arguments import expect
from chanlink.directory.rules import check_claim, check_removal, check_room, others
from chanlink.directory.store import MOST_NAMES, NAMES_PER_KEY, New, News, Owner, Stored
from chanlink.tasks import tasks_beside

from .gateway import Gateway
from .layout import (
    Layout,
    Message,
    below,
    delete,
    leases_in,
    one,
    owners_in,
    pack_entry,
    pack_owners,
    put,
    read,
    transaction,
)
from .replica import Replica
from .watching import Watching, lives

TRIES = 20
"""Of a change that others have crossed: each time one of them has succeeded."""
GRACE = 2.0
"""Seconds for which what nobody needs any more is taken back."""
_ENDPOINT = re.compile(r"https?://[^\s/?#@]+")
_PREFIX = re.compile(r"/(?:[A-Za-z0-9_.-]+/)+")


class EtcdStore(AsyncContextManagerMixin):
    """Keeps the entries of directories in etcd (3.4 or newer), by its JSON gateway. Needs ``chanlink[etcd]``.

    Any number of directories may share one etcd: give each the same servers, `endpoints` (``http://host:2379``, or
    ``https``), and the same `prefix`. Whichever of the servers answers is asked. What is registered at one directory is
    found at the others when they have heard of it, some milliseconds later.

    - `user` and `password`, if etcd asks for them. The user has to read and write below `prefix`: whoever can do that
      can say whose a name is.
    - `tls`: whom to believe that it is etcd, and our certificate; by default the certificates that httpx trusts.
    - `most_names` and `names_per_key` are as of all stores; those who register at the same moment may pass them.

    Raises `ConfigError` if httpx is missing, or for endpoints or a prefix that can't be; `TypeError`. Entering raises
    `StoreError` when etcd can't be reached.
    """

    def __init__(
        self,
        *endpoints: str,
        prefix: str = "/chanlink/directory/",
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        most_names: int = MOST_NAMES,
        names_per_key: int = NAMES_PER_KEY,
    ) -> None:
        for endpoint in endpoints:
            expect("endpoints", endpoint, str)
            if not _ENDPOINT.fullmatch(endpoint):
                raise ConfigError(f"{endpoint!r:.70} is no server of etcd; write http://host:2379")
        if not endpoints:
            raise ConfigError("etcd has at least one server; write http://host:2379")
        expect("prefix", prefix, str)
        if not _PREFIX.fullmatch(prefix):
            raise ConfigError(f"{prefix!r:.70} is no prefix; write one like /chanlink/directory/")
        expect("user", user, str)
        expect("password", password, str)
        expect("tls", tls, ssl.SSLContext, type(None))
        expect("most_names", most_names, int)
        expect("names_per_key", names_per_key, int)
        self._gateway = Gateway(endpoints, user, password, tls)
        self._layout = Layout(prefix)
        self._replica = Replica()
        self._watching = Watching(self._gateway, self._layout, self._replica)
        self._most_names = most_names
        self._names_per_key = names_per_key

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with self._gateway.open(), tasks_beside() as tasks:
            tasks.start_soon(self._watching.run)
            try:
                await self._watching.tried()
                yield self
            finally:
                tasks.cancel_scope.cancel()

    # --- verbs ---

    async def put(self, new: New) -> None:
        """As `Store.put`."""
        lease = await self._lease(new)
        try:
            leases = await self._put(new, lease)
        except CallFailed:  # by anything else the entry may be there, and would end with its lease
            await self._give_back([lease])
            raise
        await self._give_back([one for one in leases if one != lease])

    async def _put(self, new: New, lease: str) -> list[str]:
        """Returns the leases that nobody needs any more."""
        where = self._layout.owners(new.name)
        for _ in range(TRIES):
            owners, revision = await self._owners(new.name)
            check_claim(owners, new)
            keys = {owner.key for owner in owners}
            if new.key not in keys:
                await self._check_room(new, is_new_name=not owners)
            steps = [
                put(where, pack_owners([*others(owners, new), Owner(new.key, new.listed, new.serial)])),
                put(self._layout.entry(new.name, new.key), pack_entry(new), lease),
                put(self._layout.name_of(new.key, new.name), b""),
            ]
            if new.old in keys:
                steps.append(delete(one(self._layout.entry(new.name, new.old))))
                steps.append(delete(one(self._layout.name_of(new.old, new.name))))
            done = await self._change(steps, where, revision)
            if done is not None:
                return leases_in(done)
        raise _crossed(new.name)

    async def withdraw(self, name: str, key: bytes) -> None:
        """As `Store.withdraw`."""
        done = await self._change([delete(one(self._layout.entry(name, key)))])
        await self._give_back(leases_in(done or ()))

    async def remove(self, name: str, key: bytes, listed: bool) -> bool:
        """As `Store.remove`."""
        where = self._layout.owners(name)
        for _ in range(TRIES):
            owners, revision = await self._owners(name)
            if not owners:
                return False
            check_removal(owners, name, key, listed)
            steps = [delete(one(where)), delete(below(self._layout.entries_of(name)))]
            steps += [delete(one(self._layout.name_of(owner.key, name))) for owner in owners]
            done = await self._change(steps, where, revision)
            if done is not None:
                await self._give_back(leases_in(done))
                return True
        raise _crossed(name)

    async def find(self, name: str) -> Sequence[Stored]:
        """As `Store.find`."""
        self._gateway.check_open()
        if self._watching.is_fresh:
            return self._replica.find(name)
        answer = await self._gateway.call("/v3/kv/range", below(self._layout.entries_of(name)))
        rows = [self._layout.row(kv) for kv in answer.get("kvs", ())]
        return [row.as_stored(left) for row, left in await lives(self._gateway, rows)]

    async def changes(self) -> AsyncIterator[News]:
        """As `Store.changes`."""
        await self._watching.tried()
        reader = self._replica.reader()
        try:
            while True:
                yield await reader.next()
        finally:
            self._replica.discard(reader)

    # --- what they are made of ---

    async def _owners(self, name: str) -> tuple[list[Owner], str]:
        answer = await self._gateway.call("/v3/kv/range", one(self._layout.owners(name)))
        return owners_in(answer.get("kvs", ()))

    async def _check_room(self, new: New, is_new_name: bool) -> None:
        count: dict[str, Any] = {"count_only": True}
        steps = [read(below(self._layout.names_of(new.key)), **count), read(below(self._layout.all_owners), **count)]
        answer = await self._gateway.call("/v3/kv/txn", transaction(steps))
        of_key, names = (int(step["response_range"].get("count", 0)) for step in answer["responses"])
        check_room(of_key, self._names_per_key, names if is_new_name else 0, self._most_names)

    async def _change(self, steps: list[Message], owners: str = "", revision: str = "") -> list[Message] | None:
        """What the steps have answered, once this process knows of it; None if others have changed the name."""
        answer = await self._gateway.call("/v3/kv/txn", transaction(steps, owners, revision))
        if not answer.get("succeeded"):
            return None
        responses: list[Message] = answer.get("responses", [])
        if self._layout.is_told(steps, responses):
            await self._watching.reached(int(answer["header"]["revision"]))
        return responses

    async def _lease(self, new: New) -> str:
        answer = await self._gateway.call("/v3/lease/grant", {"TTL": str(new.life)})
        return str(answer["ID"])

    async def _give_back(self, leases: Sequence[str]) -> None:
        """What nobody takes back ends by itself; but who registers all the time would have thousands of them."""
        with CancelScope(shield=True), anyio.move_on_after(GRACE), suppress(StoreError):
            for lease in leases:
                await self._gateway.call("/v3/lease/revoke", {"ID": lease})


def _crossed(name: str) -> StoreError:
    return StoreError(f"others change {name} all the time")
