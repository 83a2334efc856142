"""Services: the functions that take the top-level channels that a peer opens, one task for each channel."""

import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from opcode import opmap
from types import FrameType
from typing import Any, NamedTuple

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink.arguments import expect, expect_function
from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Receiver
from chanlink.channels.handle import Handle
from chanlink.channels.typed import TypeConverter
from chanlink.channels.values import Kind
from chanlink.channels.waiting import Waiters
from chanlink.errors import SessionLost, peers_doing
from chanlink.printing import printable_logger
from chanlink.wire.stream import Stream

from .annotations import item_converter
from .peer import Peer
from .restrictions import check_enforced
from .telling import Telling

logger = printable_logger(__name__)


Handler = Callable[[Any, Peer], Awaitable[None]]
MAX_KNOWN = 256
"""Services of which a session knows what they receive. Which there are, a mapping of one's own may make up."""


class streams:
    """Marks a service that takes byte streams instead of channels: ``{"echo": streams(echo)}``."""

    def __init__(self, handler: Handler) -> None:
        expect_function("handler", handler)
        self.handler = handler


class service:
    """Says more of a service, of either kind: ``{"get": service(get, early=True)}``.

    With ``early``, it also takes what came with the first message of a client (`connect(early=True)`), a round trip
    earlier. That may be a recording, which somebody else has sent again: only a service that may do what it does twice,
    and for nobody, should say so. What comes for other services waits until the client has proved that it is there.

    ``enforces`` names the restrictions of credentials that it sees to. There is one: ``("force-command",)`` says that
    nothing is done for a peer with ``peer.issued.credential.force_command`` but to run that command. A peer under a
    restriction that a service does not name can't open it. Raises `ConfigError` for a name that is none.
    """

    def __init__(self, handler: Handler | streams, *, early: bool = False, enforces: Collection[str] = ()) -> None:
        if not isinstance(handler, streams):
            expect_function("handler", handler)
        expect("early", early, bool)
        self.handler = handler
        self.early = early
        self.enforces = check_enforced(enforces)


Services = Mapping[str, Handler | streams | service]
"""What a side serves, by name: for an annotation, where a type checker would make ``dict[str, object]`` of several."""


class _Service(NamedTuple):
    """What was said of a service."""

    function: Handler
    takes_bytes: bool
    early: bool
    enforces: frozenset[str]

    @classmethod
    def read(cls, said: Handler | streams | service) -> "_Service":
        early, enforces = (said.early, said.enforces) if isinstance(said, service) else (False, frozenset[str]())
        inner = said.handler if isinstance(said, service) else said
        if isinstance(inner, streams):
            return cls(inner.handler, True, early, enforces)
        return cls(inner, False, early, enforces)


def check_services(services: object) -> None:
    """Raise `TypeError` unless these are services by name, `InterfaceError` for what one can't get as a message."""
    if services is None:
        return
    if not isinstance(services, Mapping):
        raise TypeError(f"services must be functions by name, {{'echo': echo}}, not {type(services).__name__}")
    for name, one in services.items():
        if not isinstance(name, str) or not (isinstance(one, streams | service) or callable(one)):
            raise TypeError(f"services: {name!r:.70}: a name and an async function are wanted, not {one!r:.70}")
        read = _Service.read(one)
        _check_call(name, read.function)
        if not read.takes_bytes:
            item_converter(read.function)


def _check_call(name: str, function: Callable[..., object]) -> None:
    """One that can't be called as we do would fail for each peer, and only then."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are written in C
        return
    try:
        signature.bind(None, None)
    except TypeError as exc:
        raise TypeError(f"services: {name!r:.70} must take two arguments, its channel and the peer: {exc}") from None


_KINDS: dict[Kind, str] = {"receiver": "channels, not byte streams", "bytes": "byte streams, not channels"}
"""What a service takes, by the kind of what it is given."""


def no_such_service(service: str) -> str:
    """The text that goes with this code: of a service that there is not, and of one that the peer may not use."""
    return f"there is no service {_name(service)} here that this key may use"


def _name(service: str) -> str:
    return repr(service[:64])


_YIELD = opmap["YIELD_VALUE"]
"""Where a coroutine stands that waits."""


def forget_locals(error: BaseException | None) -> None:
    """Let go of what a service held that has raised this, and of what the functions held that it had called.

    A log that keeps the traceback keeps it, too: ends that were taken and not closed would never be abandoned.
    """
    seen: set[int] = set()
    errors = [error]
    while errors:
        error = errors.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        errors += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            errors += error.exceptions
        traceback = error.__traceback__
        while traceback is not None:
            _clear(traceback.tb_frame)
            traceback = traceback.tb_next


def _clear(frame: FrameType) -> None:
    """Let go of the locals of a call that has ended.

    It may not have: the same error may have been caught elsewhere before, by a coroutine that waits for something else
    now. To clear its frame would end it, before Python 3.13, which refuses to.
    """
    if frame.f_code.co_code[frame.f_lasti] != _YIELD:
        with suppress(RuntimeError):  # it is running
            frame.clear()


class Serving:
    """The services of one session, and the tasks that work in them."""

    def __init__(
        self,
        services: Services,
        peer: Peer,
        *,
        limit: int,
        adopt: Callable[[Stream], Handle],
        enter: Callable[[], object],
        telling: Telling | None = None,
    ) -> None:
        self._services = services
        self._peer = peer
        self._limit = limit
        self._adopt = adopt
        self._enter = enter
        """Called in the task of each service, before it."""
        self._telling = telling
        self._running: dict[CancelScope, str] = {}
        self._idle = Waiters()
        """Those that wait until nothing runs."""
        self._converters: dict[str, tuple[Handler, TypeConverter | None]] = {}
        """Of the services that were used. Which there are may change: see that it is of the one that there is now."""

    def start(self, tasks: TaskGroup, service: str, stream: Stream) -> None:
        """Give a stream that the peer has opened to its service, or say why not."""
        said = self._services.get(service)
        read = _Service.read(said) if said is not None else None
        kind: Kind = "bytes" if read is not None and read.takes_bytes else "receiver"
        if read is None:
            stream.discard("no-such-service", no_such_service(service))
        elif stream.kind != kind:
            stream.discard("wrong-kind", f"the service {_name(service)} takes {_KINDS[kind]}")
        elif len(self._running) >= self._limit:
            # A channel can be over while its service still works: open channels alone don't bound the tasks.
            stream.discard("busy", f"{self._limit} channels of this session are being served")
        else:
            scope = CancelScope()
            self._running[scope] = service
            end = self._adopt(stream)
            told: AbstractContextManager[None] = nullcontext()
            if self._telling is not None:
                told = self._telling.serving(stream)
            tasks.start_soon(self._serve, scope, service, read.function, end, told)

    def takes_early(self, service: str) -> bool:
        """Whether this one takes what may be a recording."""
        said = self._services.get(service)
        return said is not None and _Service.read(said).early

    def enforces(self, service: str) -> frozenset[str]:
        """The restrictions of credentials that this one sees to."""
        said = self._services.get(service)
        return frozenset() if said is None else _Service.read(said).enforces

    def _converter(self, service: str, handler: Handler) -> TypeConverter | None:
        known = self._converters.get(service)
        if known is None or known[0] is not handler:
            if len(self._converters) >= MAX_KNOWN:
                self._converters.clear()
            known = self._converters[service] = handler, item_converter(handler)
        return known[1]

    async def _serve(
        self, scope: CancelScope, service: str, handler: Handler, end: Handle, told: AbstractContextManager[None]
    ) -> None:
        try:
            with scope:
                if not scope.cancel_called:  # else it would go as far as its first wait, though it may not
                    self._enter()
                    if isinstance(end, Receiver) and (converter := self._converter(service, handler)) is not None:
                        end._converts_by(converter)
                    with told:
                        await handler(end, self._peer)
        except (Exception, SystemExit):  # argparse, say: what a peer has asked for must not end us
            self._failed(service, end)
        except BaseExceptionGroup as group:
            if group.split((Exception, SystemExit))[1] is not None:
                raise
            self._failed(service, end)
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -math.inf:
                end._forsake("cancelled", f"the service {_name(service)} was stopped")
                raise
            # It leaked from a task that the service cancelled by itself: asyncio would take it for ours.
            self._failed(service, end)
        else:
            if isinstance(end, ByteStream):
                end.close()
            else:
                end._forsake("done")
        finally:
            del self._running[scope]
            if not self._running:
                self._idle.wake_all()

    def _failed(self, service: str, end: Handle) -> None:
        """It raised. What it raised is for our log only: it may quote what is nobody's business."""
        error = sys.exception()
        assert error is not None
        cause = peers_doing(error)
        if cause is None:
            logger.exception("the service %r failed for %s", service, self._peer.name)
            forget_locals(error)
            text = "raised an exception; the log over there says which"
        elif isinstance(cause, SessionLost):
            logger.info("the service %r for %s ended with a session", service, self._peer.name)
            text = "lost a session that it needed"
        else:
            logger.info("the service %r for %s ended: %s", service, self._peer.name, str(cause))
            text = "ended because of what it received"
        end._forsake("handler-failed", f"the service {_name(service)} {text}")

    def served(self, scope: CancelScope) -> tuple[str, str] | None:
        """The service, and the peer, that the task with this scope is for."""
        service = self._running.get(scope)
        return None if service is None else (service, self._peer.name)

    async def finished(self) -> None:
        """Wait until no service runs."""
        while self._running:
            await self._idle.wait()

    def stop(self, may_use: Callable[[str], bool]) -> None:
        """Cancel those that the peer may not use any more: they hold ends that have travelled to them."""
        for scope, service in self._running.items():
            if not may_use(service):
                scope.cancel()
