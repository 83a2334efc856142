"""All of the daemon: what it begins with, what it looks at again, and how it stops.

It stops without a word: the sessions go on without it, and whoever has them comes back when it is there again.
"""

import fcntl
import os
import resource
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from chanlink import clock
from chanlink.errors import ConfigError, UntrustedPeer
from chanlink.handover.messages import Advertised
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.files import file_problem
from chanlink.security.keys.hosts import Host
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.threads import run_apart
from chanlink.security.statics import Statics
from chanlink.tasks import tasks_beside
from chanlink.transport.accepting import Listening
from chanlink.transport.address import parse_address
from chanlink.transport.listen import ListeningSockets, listening_sockets

from . import settings as settings_file
from .applications import Applications
from .audit import Audit
from .authorities import Authorities
from .desk import Desk
from .doors import Doors, Key
from .folder import Folder
from .given import Given
from .handing import entries_of, vouched
from .identities import Identities
from .incoming import Reception
from .journal import INCOMING, Journal
from .lines import Entry, Lines
from .outgoing import Outgoing
from .settings import Settings

logger = printable_logger(__name__)

LOOK = 1.0
"""Seconds between two looks at the files of the folder."""
TRIES = 10
"""For a lock: who has it may only look whether a daemon runs."""


class Place(NamedTuple):
    """Where a daemon is."""

    folder: Folder
    run: Path
    """The folder of its sockets."""
    listen: Sequence[str] = ()
    """Addresses where clients of the network may come, besides the sockets that were given."""


class Daemon:
    """A daemon. `running` makes one."""

    def __init__(self, place: Place, settings: Settings, limits: Limits, lines: Lines, audit: Audit) -> None:
        self._place = place
        self._settings = settings
        self._limits = limits
        self._lines = lines
        self._audit = audit
        self._seen: object = None
        self._known: object = None
        self._problems: dict[Key, str] = {}
        """Of sockets that can't be made, as they were logged."""
        self.applications = Applications(lines)
        self._authorities = Authorities(place.folder.trust, limits.trust_interval)
        self._tasks: TaskGroup
        self._desk: Desk
        self._doors: Doors
        self.addresses: list[str] = []
        """Where it listens for clients of the network."""

    def __len__(self) -> int:
        """How many sessions it has handed over that are not over."""
        return len(self._lines)

    async def start(self, tasks: TaskGroup, stack: ExitStack, given: Given) -> None:
        """Begin. Raises `ConfigError` and `ConnectFailed`."""
        folder, limits = self._place.folder, self._limits
        self._tasks = tasks
        self._seen, self._known = _state(folder.settings), _state(folder.known_peers)
        await run_apart(self._authorities.configure, self._settings)
        host, instance = await run_apart(folder.host), await run_apart(lambda: folder.instance)
        statics = Statics(host, Role.SERVER)
        listening = await self._listening(stack, given)
        self.addresses = [address for one in listening for address in one.addresses]
        outgoing = Outgoing(folder, lambda: self._settings.directory)
        self._desk = Desk(
            tasks,
            Identities(folder),
            outgoing,
            self.applications,
            self._lines,
            self._audit,
            Advertised(limits=entries_of(limits), addresses=self.addresses),
        )
        self._doors = Doors(self._place.run, groups=self._settings.groups, given=given.doors)
        stack.callback(self._doors.close, set())
        await run_apart(self._doors.prepare)
        self._check_incoming()
        self._check_services()
        await self._check_outgoing()
        await self._open()
        for one in listening:
            reception = Reception(
                one,
                statics,
                limits,
                instance,
                authorities=self._authorities,
                applications=self.applications,
                lines=self._lines,
                audit=self._audit,
            )
            reception.start(tasks, _nobody)
        tasks.start_soon(self._look_again)

    async def _listening(self, stack: ExitStack, given: Given) -> list[Listening]:
        found: list[ListeningSockets] = []
        if given.network:
            found.append(ListeningSockets(given.network))
        for address in self._place.listen:
            found.append(await listening_sockets(parse_address(address)))
        for one in found:
            stack.callback(one.close)
        return [*found]

    # --- what changes ---

    async def _open(self) -> None:
        """Have the sockets that the settings want. A service whose group is missing has none, and is tried again."""
        services = self._settings.services
        self._doors.close(self._doors.wanted(services))
        problems = {}
        for key in self._doors.missing(services):
            try:
                sock = await run_apart(self._doors.make, *key)
            except ConfigError as exc:
                problems[key] = str(exc)
                if self._problems.get(key) != problems[key]:
                    logger.error("the service %s can't be reached: %s", key[1], exc)
            else:
                self._doors.open(key, sock, self._tasks, self._desk.met)
        self._problems = problems
        self._authorities.watch(self._tasks, self._check_incoming)

    async def _look_again(self) -> None:
        folder = self._place.folder
        while True:
            await anyio.sleep(LOOK)
            self._lines.step(clock.now(), time.time())
            seen, known = _state(folder.settings), _state(folder.known_peers)
            if seen != self._seen:
                self._seen = seen
                await self._configure()
            elif self._problems:
                await self._open()
            if self._authorities.lacks_any:
                await run_apart(self._authorities.configure, self._settings)
                self._authorities.watch(self._tasks, self._check_incoming)
            if known != self._known:
                self._known = known
                await self._check_outgoing()
            await self._check_users()

    async def _configure(self) -> None:
        try:
            self._settings = await run_apart(settings_file.load, self._place.folder.settings)
        except ConfigError as exc:
            logger.error("%s; what this file said before stays in force", exc)
            return
        logger.info("%s was read again: %d services", self._place.folder.settings, len(self._settings.services))
        await run_apart(self._authorities.configure, self._settings)
        await self._open()
        self._check_incoming()
        self._check_services()

    # --- what is not allowed any more ---

    def _check_incoming(self) -> None:
        """Who may come, may be others by now."""
        for entry in self._lines:
            if entry.row.way == INCOMING:
                self._check(entry)

    def _check(self, entry: Entry) -> None:
        row = entry.row
        try:
            grant = self._authorities.admit_still(entry.presented(), row.service)
        except (UntrustedPeer, ConfigError, ValueError):
            logger.info("%s at %s may not use %s any more", row.name, row.host, row.service)
            self._lines.revoke(entry)
        else:
            with suppress(OSError):
                self._lines.change(entry, row._replace(**vouched(grant)))

    def _check_services(self) -> None:
        """A service may be gone by now. Of those for the network, `_check_incoming` knows."""
        for entry in self._outgoing():
            if entry.row.service not in self._settings.services:
                logger.info(
                    "there is no service %s any more, and no session with %s", entry.row.service, entry.row.host
                )
                self._lines.revoke(entry)

    async def _check_users(self) -> None:
        """A user may have no key by now: it has no sessions by that then."""
        users = {entry.row.user for entry in self._outgoing()}
        gone = users and await run_apart(lambda: {user for user in users if not self._place.folder.has_user(user)})
        for entry in self._outgoing():
            if entry.row.user in gone:
                logger.info("%s has no key any more, and no session with %s", entry.row.user, entry.row.host)
                self._lines.revoke(entry)

    def _outgoing(self) -> list[Entry]:
        return [entry for entry in self._lines if entry.row.way != INCOMING]

    async def _check_outgoing(self) -> None:
        """A host's key, or who vouches for it, may be revoked by now. That a name has another key is a matter of who
        connects."""
        folder = self._place.folder
        try:
            known = await run_apart(KnownPeers.load, folder.known_peers)
            hosts = await run_apart(Host.load_each, folder.hosts)
        except ConfigError as exc:
            logger.error("%s", exc)
            return
        for entry in self._outgoing():
            host = hosts.get(entry.row.host)
            addresses = [f"chanlink://{entry.row.host}", *([host.address] if isinstance(host, Host) else ())]
            if any(_is_revoked(known, address, entry) for address in addresses):
                logger.info("the key of %s, or who vouches for it, is revoked", entry.row.host)
                self._lines.revoke(entry)


def _is_revoked(known: KnownPeers, address: str, entry: Entry) -> bool:
    with suppress(ConfigError, ValueError):  # of an address, or a row, that was changed by somebody else
        return known._revokes(address, entry.presented())
    return False


@asynccontextmanager
async def running(
    place: Place, *, audit: Path | None, given: Given | None = None, limits: Limits | None = None
) -> AsyncGenerator[Daemon, None]:
    """A daemon, as long as the block. Raises `ConfigError`, and `ConnectFailed` where it can't listen."""
    allow_descriptors()
    folder = place.folder
    settings = await run_apart(settings_file.load, folder.settings)
    with ExitStack() as stack:
        for each in (folder.path, place.run):
            stack.enter_context(locked(each, TRIES))
        journal = Journal(folder.journal)
        stack.callback(journal.close)
        lines = Lines(journal, kept := Audit(audit), clock.now())
        async with tasks_beside() as tasks:
            daemon = Daemon(place, settings, limits or Limits(), lines, kept)
            try:
                await daemon.start(tasks, stack, given or Given())
                yield daemon
            finally:
                tasks.cancel_scope.cancel()


async def _nobody(authenticated: Authenticated, address: str) -> None:
    """No client of the network has a session with the daemon itself."""


def _state(file: Path) -> object:
    """Something that differs after each change."""
    try:
        status = os.stat(file)
    except OSError as exc:
        return str(exc)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def locked(folder: Path, tries: int = 1) -> Iterator[None]:
    """The folder is this process's in the block. Raises `ConfigError` if it is another one's."""
    file = folder / ".lock"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(f"{file_problem(file, exc)}; {folder} must be a folder of the daemon's user") from exc
    try:
        _lock(descriptor, folder, tries)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, tries: int) -> None:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if not left:
                raise ConfigError(f"{folder} is that of another daemon, which runs") from exc
            time.sleep(LOOK / TRIES)
        else:
            return


def allow_descriptors() -> None:
    """As many open files as this process may have: each session has one."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
