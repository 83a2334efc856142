"""`Registration`: a server's entry in a directory, kept fresh for as long as it serves.

    serve(..., register=Registration(directory, "web1"))

Beside it lies the server's newest prekey, so that `connect(early=True)` of who finds it needs no session before.

The entry is registered at once, and again after a third of its life and a random part of another third: so one attempt
may fail, or two, before it ends. Each pause has a random part, and so has the one after the session with the directory
was lost: a directory that was restarted is not asked by all servers in one moment.
"""

import random
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio import CancelScope

from chanlink import CallError, CallFailed, ConfigError, Identity, Listener
from chanlink.arguments import expect
from chanlink.backoff import Backoff
from chanlink.printing import printable_logger
from chanlink.tasks import tasks_beside
from chanlink.transport.address import is_good_name

from .client import LIFE, Directory
from .entries import MAX_LIFE, Entry
from .problems import StoreFailed

logger = printable_logger(__name__)

SPREAD = 5.0
"""Seconds over which servers come back to a directory that was away, at most."""
FAREWELL = 2.0
"""Seconds that a server which stops waits for the directory to forget where it was, at most."""
_EVERYWHERE = ("tcp://0.0.0.0:", "tcp://[::]:")
"""What a listener on all addresses of a machine says of itself; nobody can connect to that."""


class Registration:
    """Where a server is, told to a `Directory` under a name, by the identity of that directory's user.

    ``addresses`` and ``services`` are those of the server if none are given; they have to be given for a server that
    listens on all addresses of its machine (``tcp://0.0.0.0``), or that others see at another one. ``life`` is for how
    many seconds clients go by what was said last, 1 to 3,600.

    One server uses it at a time. The directory may be away: it is tried again, and the server serves meanwhile. If it
    refuses the very first entry (`NameTaken`, `NotAllowed`, `BadEntry`), `serve` raises that. Raises `TypeError` and
    `ConfigError`.
    """

    def __init__(
        self,
        directory: Directory,
        name: str,
        *,
        addresses: Sequence[str] | None = None,
        services: Sequence[str] | None = None,
        life: int = LIFE,
    ) -> None:
        expect("directory", directory, Directory)
        expect("name", name, str)
        expect("life", life, int)
        if not is_good_name(name):
            raise ConfigError(f"{name!r:.70} is no name: letters, digits, and _ . - only")
        if not 0 < life <= MAX_LIFE:
            raise ConfigError(f"life is 1 to {MAX_LIFE} seconds, not {life}")
        self.directory = directory
        self.name = name
        self._addresses = _texts("addresses", addresses)
        self._services = _texts("services", services)
        self._life = life
        self._listener: Listener | None = None
        """The one whose prekey lies beside the entry."""
        self._entry: Entry | None = None
        self._problem: CallError | None = None
        self._refusal: CallFailed | None = None
        """What the directory had against the first entry."""
        self._again = anyio.Event()
        """Something is to be said before its time."""
        self._said = anyio.Event()
        self._keeps = CancelScope()
        self._left = False

    def __repr__(self) -> str:
        return f"<Registration of {self.name!r}: {'registered' if self.entry else 'not registered'}>"

    @property
    def entry(self) -> Entry | None:
        """What the directory has of us, as long as that lives."""
        return self._entry if self._entry is not None and self._entry.expires_in else None

    @property
    def problem(self) -> CallError | None:
        """Why the last attempt has failed; None if it has not."""
        return self._problem

    async def registered(self) -> Entry:
        """Wait until the directory has an entry of us, and return that. Raises what it had against the first one."""
        while (entry := self.entry) is None:
            if (refusal := self._refusal) is not None:
                raise type(refusal)(refusal.text, refusal.detail)
            await self._said.wait()
        return entry

    def move(self, *places: str | Listener) -> None:
        """The server is found at these addresses from now on, or where these listeners are: say so, at once.

        Channels that are open go on where they are; that is the business of whoever moves. Raises `ConfigError` if
        there are none that others can use.
        """
        listeners = [place for place in places if isinstance(place, Listener)]
        addresses = [one for place in places for one in (place.addresses if isinstance(place, Listener) else (place,))]
        self._addresses = _reachable(_texts("addresses", addresses) or ())
        if listeners:
            self._listener = listeners[-1]
        self._again.set()

    # --- for `serve` ---

    @asynccontextmanager
    async def keeping(
        self, listener: Listener, identity: Identity | None, services: Collection[str]
    ) -> AsyncGenerator[None, None]:
        """Keep the entry of what this listener serves in this block. An exception of the block leaves it as it is.

        Raises `ConfigError`, and what the directory has against the first entry.
        """
        self._check(identity)
        addresses = _reachable(listener.addresses) if self._addresses is None else ()
        self._left, self._entry, self._refusal, self._keeps = False, None, None, CancelScope()
        self._listener = listener
        try:
            async with tasks_beside() as tasks:
                tasks.start_soon(self._keep, addresses, sorted(services))
                try:
                    yield
                finally:
                    await self.leave()
        except BaseExceptionGroup:
            if self._refusal is None:
                raise
            raise self._refusal from None

    async def leave(self) -> None:
        """Say that the server is not found any more, for `FAREWELL` seconds at most. What can't be said ends alone."""
        if self._left:
            return
        self._left, self._entry = True, None
        self._keeps.cancel()  # or it would come after that
        link = self.directory._link
        if link is not None and link.state == "ready":
            with anyio.move_on_after(FAREWELL, shield=True):
                try:
                    await self.directory.withdraw(self.name)
                except Exception as exc:
                    logger.info("could not withdraw %s from its directory: %s", self.name, str(exc))

    def _check(self, identity: Identity | None) -> None:
        key = (identity or Identity.default()).public_key
        if key != self.directory.identity.public_key:
            raise ConfigError(
                f"{self.name} would be registered by {self.directory.identity.public_key.fingerprint}, and served by "
                f"{key.fingerprint}: give Directory and serve the same identity"
            )

    async def _keep(self, addresses: Sequence[str], services: Sequence[str]) -> None:
        """Register, and again, until the server leaves."""
        backoff = Backoff()
        with self._keeps:
            while True:
                self._again = anyio.Event()
                try:
                    entry = await self.directory.register(
                        self.name,
                        self._addresses or addresses,
                        services if self._services is None else self._services,
                        life=self._life,
                        prekeys=b"" if self._listener is None else await self._listener._prekey(),
                    )
                except CallError as exc:
                    self._failed(exc)
                    pause = backoff.pause()
                else:
                    self._succeeded(entry)
                    backoff = Backoff()
                    pause = self._life * random.uniform(1 / 3, 2 / 3)
                await self._wait(pause)

    def _failed(self, problem: CallError) -> None:
        """It is tried again. Only what is wrong from the beginning is a mistake of whoever has set it up."""
        if self._problem is None:
            logger.warning("%s is not registered in its directory now: %s", self.name, str(problem))
        self._problem = problem
        if isinstance(problem, CallFailed) and not isinstance(problem, StoreFailed) and self._entry is None:
            self._refusal = problem
            self._tell()
            raise problem

    def _succeeded(self, entry: Entry) -> None:
        if self._problem is not None or self._entry is None:
            logger.info("%s is registered in its directory, at %s", self.name, ", ".join(entry.addresses))
        self._problem, self._entry = None, entry
        self._tell()

    def _tell(self) -> None:
        """Wake those who wait to know what the directory says."""
        self._said.set()
        self._said = anyio.Event()

    async def _wait(self, pause: float) -> None:
        """Wait for so long, or until the session with the directory is another one, or the server has moved."""
        again = self._again
        async with anyio.create_task_group() as tasks:

            async def until_again() -> None:
                await again.wait()
                tasks.cancel_scope.cancel()

            async def until_back() -> None:
                was_away = False
                async for state in self.directory.link.states():
                    if state == "ready" and was_away:
                        await anyio.sleep(random.uniform(0, SPREAD))
                        tasks.cancel_scope.cancel()
                    was_away = was_away or state != "ready"

            tasks.start_soon(until_again)
            tasks.start_soon(until_back)
            await anyio.sleep(pause)
            tasks.cancel_scope.cancel()


def _texts(what: str, texts: Sequence[str] | None) -> tuple[str, ...] | None:
    if texts is None:
        return None
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{what} must be a list of texts")
    return tuple(texts)


def _reachable(addresses: Sequence[str]) -> tuple[str, ...]:
    """Those that others may use. Raises `ConfigError` if there are none."""
    found = tuple(one for one in addresses if not one.startswith(("unix:", *_EVERYWHERE)))
    if not found:
        raise ConfigError(
            f"nobody elsewhere can connect to {', '.join(addresses) or 'no address'}: say where the server is found, "
            'Registration(..., addresses=["tcp://web1.example:9323"])'
        )
    return found
