"""Who may come from the network for which service: a trust file for each service, or one for all of them."""

import time
from collections.abc import Callable
from pathlib import Path

from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink.errors import ConfigError, UntrustedPeer
from chanlink.printing import printable_logger
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Trust

from .settings import Service, Settings

logger = printable_logger(__name__)


class Authorities:
    """The trust files, each of which is read again when it has changed."""

    def __init__(self, common: Path, interval: float) -> None:
        """``common`` is for services without a file of their own; ``interval`` is how often files are looked at."""
        self._common = common
        self._interval = interval
        self._services: dict[str, Service] = {}
        self._loaded: dict[Path, Authority] = {}
        self._watching: dict[Path, CancelScope] = {}
        self._problems: dict[Path, str] = {}

    @property
    def lacks_any(self) -> bool:
        """Whether a file, or a list that it names, could not be read: `configure` tries that again."""
        return bool(self._problems)

    def configure(self, settings: Settings) -> None:
        """These are the services (synchronously: files are read). What can't be read lets nobody in, until it can."""
        self._services = {name: service for name, service in settings.services.items() if service.incoming}
        wanted = {self._file(service) for service in self._services.values()}
        before, self._problems = self._problems, {}
        for file in wanted - self._loaded.keys():
            try:
                self._loaded[file] = Authority(Trust.load(file))
            except ConfigError as exc:
                self._problems[file] = str(exc)
                if before.get(file) != str(exc):
                    logger.error("%s; until that is mended nobody may come for the services that it is about", exc)
        for file in self._loaded.keys() - wanted:
            del self._loaded[file]

    def watch(self, tasks: TaskGroup, changed: Callable[[], None]) -> None:
        """Watch the files that nobody watches yet, and call this when one has changed."""
        for file in self._loaded.keys() - self._watching.keys():
            scope = self._watching[file] = CancelScope()
            tasks.start_soon(self._watch, self._loaded[file], scope, changed)
        for file in self._watching.keys() - self._loaded.keys():
            self._watching.pop(file).cancel()

    async def _watch(self, authority: Authority, scope: CancelScope, changed: Callable[[], None]) -> None:
        with scope:
            await authority.watch(self._interval, changed)

    def _file(self, service: Service) -> Path:
        return service.trust or self._common

    @property
    def any(self) -> Authority:
        """One of them, for what needs one and asks it nothing."""
        return Authority(Trust.nobody())

    def admit(self, presented: Presented, service: str, now: int | None = None) -> Grant:
        """What a client may do that has come for this service.

        Raises `UntrustedPeer` also where there is no such service: which ones there are is nobody's business.
        """
        found = self._services.get(service)
        if found is None:
            raise UntrustedPeer(presented.key.fingerprint, f"there is no service {service!r} for the network")
        if (authority := self._loaded.get(self._file(found))) is None:
            raise UntrustedPeer(
                presented.key.fingerprint, f"{self._file(found)} can't be read, or a file that it names"
            )
        grant = authority.admit(presented, int(time.time()) if now is None else now)
        if not grant.allows(service):
            raise UntrustedPeer(presented.key.fingerprint, f"it may not use the service {service!r}")
        return grant

    def admit_still(self, presented: Presented, service: str) -> Grant:
        """As `admit`, of one that was let in before: of the time it is not asked again. Raises `UntrustedPeer`."""
        now, credential = int(time.time()), presented.credential
        if credential is not None:
            now = min(max(now, credential.valid_after), credential.valid_before - 1)
        return self.admit(presented, service, now)
