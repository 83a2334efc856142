"""What a peer opens: each top-level channel goes to its service, waits for whoever accepts it, or is refused."""

from collections import deque
from collections.abc import Callable

from anyio.abc import TaskGroup

from chanlink.channels.handle import Handle
from chanlink.channels.waiting import Waiters
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.keys.trust import Grant
from chanlink.wire.stream import Stream

from .peer import Incoming, Peer
from .restrictions import restrictions_of
from .services import Services, Serving, no_such_service
from .telling import Telling

logger = printable_logger(__name__)


class Reception:
    """What is done with the top-level channels that the peer of one session opens."""

    def __init__(
        self,
        peer: Peer,
        limits: Limits,
        *,
        services: Services | None,
        allows: Callable[[str], bool] | None,
        adopt: Callable[[Stream], Handle],
        enter: Callable[[], object],
        telling: Telling | None,
        is_live: bool = True,
    ) -> None:
        """Unless ``is_live``, only services that take that get anything before `live` is called."""
        self._peer = peer
        self._most = limits.unaccepted
        self._allows = allows
        self._adopt = adopt
        self._telling = telling
        self._services = services
        self._waiting: deque[tuple[Incoming, Stream]] = deque()
        self._accepting = Waiters()
        self._is_live = is_live
        self._held: list[tuple[Stream, TaskGroup]] = []
        """What was opened while the peer may be a recording."""
        self._serving: Serving | None = None
        if services is not None:
            self._serving = Serving(
                services, peer, limit=limits.open_channels, adopt=adopt, enter=enter, telling=telling
            )

    @property
    def waiting(self) -> int:
        """How many channels wait to be accepted."""
        return len(self._waiting)

    def knows(self, service: str) -> bool:
        """Whether there is such a service, and the peer may use it."""
        return self._services is not None and service in self._services and self.may_use(service)

    def may_use(self, service: str) -> bool:
        """Whether the peer may open this one, be there one or not."""
        return self._is_allowed(service) and not self._unenforced(service)

    def _is_allowed(self, service: str) -> bool:
        return self._allows is None or self._allows(service)

    def _unenforced(self, service: str) -> frozenset[str]:
        """What nobody would see to of what the peer's credential demands: whoever accepts has not said a word of it."""
        demanded = restrictions_of(self._peer)
        if not demanded:
            return demanded
        return demanded - (frozenset() if self._serving is None else self._serving.enforces(service))

    def opened(self, stream: Stream, tasks: TaskGroup) -> None:
        """The peer opened this one. A service works in a task of its own."""
        service = stream.opening.service or ""
        if not (self._is_live or (self._serving is not None and self._serving.takes_early(service))):
            self._held.append((stream, tasks))
        elif not self.may_use(service):
            # The same answer as for one that does not exist: which ones there are is nobody's business.
            self._log_refused(service)
            stream.discard("no-such-service", no_such_service(service))
        elif self._serving is not None:
            self._serving.start(tasks, service, stream)
        elif len(self._waiting) >= self._most:
            stream.discard("busy", f"{len(self._waiting)} channels wait to be accepted")
        else:
            self._waiting.append((Incoming(service, self._adopt(stream), self._peer), stream))
            self._accepting.wake()

    def _log_refused(self, service: str) -> None:
        name, short = self._peer.name, service[:64]
        if not self._is_allowed(service):
            logger.info("%s asked for the service %r, which it may not use", name, short)
        else:
            options = ", ".join(sorted(self._unenforced(service)))
            logger.info("%s asked for the service %r, which does not enforce its credential's %s", name, short, options)

    def live(self) -> None:
        """The peer has proved to be there: what was kept back for that comes now."""
        self._is_live = True
        held, self._held = self._held, []
        for stream, tasks in held:
            self.opened(stream, tasks)

    async def accept(self, check: Callable[[], None]) -> Incoming:
        """The next one that waits. `check` raises when no more will come."""
        while not self._waiting:
            check()
            await self._accepting.wait()
        if len(self._waiting) > 1:
            self._accepting.wake()
        incoming, stream = self._waiting.popleft()
        if self._telling is not None:
            self._telling.accepted(stream)
        return incoming

    def changed(self) -> None:
        """Perhaps no more will come."""
        self._accepting.wake_all()

    def regrant(self, grant: Grant | None) -> None:
        """The peer may do this from now on; what waits or works for it though it may do it no more is over."""
        self._allows = grant.allows if grant is not None else _nothing
        self.withdraw("revoked", allows=self.may_use)
        if self._serving is not None:
            self._serving.stop(self.may_use)

    def withdraw(self, code: str, text: str = "", *, allows: Callable[[str], bool] | None = None) -> None:
        """Nobody will accept what waits, but for services that the peer may still use."""
        for one in [one for one in self._waiting if allows is None or not allows(one[0].service)]:
            self._waiting.remove(one)
            one[0].end._forsake(code, text)

    async def served(self) -> None:
        """Wait until the services that got channels have returned."""
        if self._serving is not None:
            await self._serving.finished()


def _nothing(service: str) -> bool:
    """What somebody may use who is not trusted any more."""
    return False
