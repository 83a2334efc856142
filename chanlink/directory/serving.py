"""`directory_services`: the two services of a directory, over a store.

Whoever registers is the key of its session, and can say nothing of others: an entry of another key is refused, so that
nobody can bring an old one back. What may be read is what anybody may read who is allowed the service.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from chanlink import Services, StoreError, current_call, current_session
from chanlink.arguments import expect_function
from chanlink.limits import Bucket
from chanlink.printing import printable_logger
from chanlink.tasks import tasks_beside
from chanlink.transport.address import is_good_name

from .board import Board
from .entries import MAX_PREKEYS, Said, Signed, old_key, parse
from .interface import LOOKING_UP, REGISTERING, Change, Succession, Told, looking_up, registering
from .memory import MemoryStore
from .problems import BadEntry, DirectoryFull, NotAllowed, StoreFailed
from .store import Gone, New, News, Store, Stored

logger = printable_logger(__name__)

FOLLOWERS = 100
"""Who follow changes, of one key, at a time."""


@asynccontextmanager
async def directory_services(store: Store | None = None) -> AsyncGenerator[Services, None]:
    """Be a directory: a block that gives two services, for `serve` or `listen`, alone or beside others.

    ``directory`` is for those who look servers up, ``directory.register`` for servers; who may use which, and which
    names a key may have, the trust file says. Entries are in ``store``, a `MemoryStore` if none is given.

    Raises `TypeError`, and what entering the store raises: `ConfigError`, `StoreError`.
    """
    kept: Store = MemoryStore() if store is None else store
    expect_function("store.put", getattr(kept, "put", None))
    async with kept, tasks_beside() as tasks:
        board, translated = Board(kept), _Translated()
        tasks.start_soon(board.run)
        try:
            yield {
                LOOKING_UP: looking_up().serving(_LookingUp(kept, board, translated)),
                REGISTERING: registering().serving(_Registering(kept, translated)),
            }
        finally:
            tasks.cancel_scope.cancel()


class _Translated:
    """What the store could not do now is said to the caller; why, to our log only, once a second however many call."""

    def __init__(self) -> None:
        self._complaints = Bucket(1, 1.0)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        try:
            yield
        except StoreError as exc:
            if self._complaints.take(time.monotonic()):
                logger.warning("the directory's store fails: %s", exc)
            raise StoreFailed("the directory can't reach what it keeps now") from exc


class _LookingUp:
    """The service ``directory``."""

    def __init__(self, store: Store, board: Board, translated: _Translated) -> None:
        self._store = store
        self._translated = translated
        self._board = board
        self._followers: Counter[bytes | None] = Counter()

    async def lookup(self, name: str) -> list[Told]:
        if not is_good_name(name):
            return []
        with self._translated():
            return [told(one) for one in await self._store.find(name)]

    async def changes(self, prefix: str = "") -> AsyncGenerator[Change, None]:
        session = current_session()
        with self._counted():
            async with aclosing(self._board.follow(prefix)) as news:
                while True:
                    # A stream without an end would hold up whoever stops in order. Who follows comes back elsewhere.
                    with session.cancel_when_draining() as scope:
                        change = await anext(news)
                    if scope.cancel_called:
                        break
                    yield change_of(change)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        key = _caller()
        if self._followers[key] >= FOLLOWERS:
            raise DirectoryFull(f"this key follows {FOLLOWERS} times already")
        self._followers[key] += 1
        try:
            yield
        finally:
            self._followers[key] -= 1
            if not self._followers[key]:
                del self._followers[key]


class _Registering:
    """The service ``directory.register``."""

    def __init__(self, store: Store, translated: _Translated) -> None:
        self._store = store
        self._translated = translated

    async def register(
        self, entry: bytes, sshsig: bytes, prekeys: bytes = b"", successor: Succession | None = None
    ) -> None:
        signed = Signed(entry, sshsig)
        said = parse(signed)
        if said.key.raw != _caller():
            raise BadEntry("it is signed by another key than that of this session")
        said.check_time(time.time())
        if len(prekeys) > MAX_PREKEYS:
            raise BadEntry(f"prekeys have at most {MAX_PREKEYS} bytes")
        names = _names_of_caller()
        if names is not None and said.name not in names:
            raise NotAllowed(f"this key's line in the trust file gives it other names than {said.name}")
        old = b""
        if successor is not None:
            old = old_key(said.key, successor["time"], successor["sshsig"], time.time())
        with self._translated():
            before = await self._store.find(said.name) if old else ()
            await self._store.put(new_of(said, signed, names is not None, prekeys, old))
        if any(one.key == old for one in before):
            logger.warning("%s belongs to %s from now on, whom its owner has named", said.name, said.key.fingerprint)

    async def withdraw(self, name: str) -> None:
        key = _caller()
        if key is not None and is_good_name(name):
            with self._translated():
                await self._store.withdraw(name, key)

    async def remove(self, name: str) -> bool:
        key = _caller()
        if key is None or not is_good_name(name):
            return False
        with self._translated():
            return await self._store.remove(name, key, name in (_names_of_caller() or ()))


def _caller() -> bytes | None:
    """The key that calls; None in sessions for tests without keys, where nobody can register."""
    key = current_call().peer.key
    return None if key is None else key.raw


def _names_of_caller() -> frozenset[str] | None:
    """As the trust file has them now."""
    return current_call().peer.names


def new_of(said: Said, signed: Signed, listed: bool, prekeys: bytes, old: bytes = b"") -> New:
    """What the store gets of an entry that was checked."""
    return New(said.name, said.key.raw, said.serial, said.life, listed, signed.entry, signed.sshsig, prekeys, old)


def told(one: Stored) -> Told:
    """An entry as it is passed on."""
    found: Told = {"entry": one.entry, "sshsig": one.sshsig, "left": int(one.left * 1_000)}
    if one.prekeys:
        found["prekeys"] = one.prekeys
    return found


def change_of(change: News) -> Change:
    """A change as it is passed on."""
    if change is None:
        return {"current": True}
    if isinstance(change, Gone):
        return {"gone": {"name": change.name, "key": change.key}}
    return {"told": told(change)}
