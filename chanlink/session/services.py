"""Services: the functions that take the top-level channels that a peer opens, one task for each channel."""

import math
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from opcode import opmap
from types import FrameType
from typing import Any

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.handle import Handle
from chanlink.channels.values import Kind
from chanlink.errors import ChannelFailed, DecodeError, SessionLost
from chanlink.printing import printable_logger
from chanlink.security.keys.trust import Grant
from chanlink.wire.stream import Stream

from .peer import Peer

logger = printable_logger(__name__)


Handler = Callable[[Any, Peer], Awaitable[None]]


class streams:
    """Marks a service that takes byte streams instead of channels: ``{"echo": streams(echo)}``."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler


Services = Mapping[str, Handler | streams]


def check_services(services: object) -> None:
    """Raise `TypeError` unless these are services by name."""
    if services is None:
        return
    if not isinstance(services, Mapping):
        raise TypeError(f"services are functions by name, {{'echo': echo}}, not a {type(services).__name__}")
    for name, service in services.items():
        if not isinstance(name, str) or not (isinstance(service, streams) or callable(service)):
            raise TypeError(f"services: {name!r:.70}: a name and an async function are wanted, not {service!r:.70}")


_KINDS: dict[Kind, str] = {"receiver": "channels, not byte streams", "bytes": "byte streams, not channels"}
"""What a service takes, by the kind of what it is given."""


def no_such_service(service: str) -> str:
    """The text that goes with this code: of a service that there is not, and of one that the peer may not use."""
    return f"there is no service {_name(service)} here that this key may use"


def _name(service: str) -> str:
    return repr(service[:64])


_YIELD = opmap["YIELD_VALUE"]
"""Where a coroutine stands that waits."""


def _forget_locals(error: BaseException | None) -> None:
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

    def __init__(self, services: Services, peer: Peer, *, limit: int, adopt: Callable[[Stream], Handle]) -> None:
        self._services = services
        self._peer = peer
        self._limit = limit
        self._adopt = adopt
        self._running: dict[CancelScope, str] = {}

    def start(self, tasks: TaskGroup, service: str, stream: Stream) -> None:
        """Give a stream that the peer has opened to its service, or say why not."""
        handler = self._services.get(service)
        kind: Kind = "bytes" if isinstance(handler, streams) else "receiver"
        if handler is None:
            stream.discard("no-such-service", no_such_service(service))
        elif stream.kind != kind:
            stream.discard("wrong-kind", f"the service {_name(service)} takes {_KINDS[kind]}")
        elif len(self._running) >= self._limit:
            # A channel can be over while its service still works: open channels alone don't bound the tasks.
            stream.discard("busy", f"{self._limit} channels of this session are being served")
        else:
            function = handler.handler if isinstance(handler, streams) else handler
            scope = CancelScope()
            self._running[scope] = service
            tasks.start_soon(self._serve, scope, service, function, self._adopt(stream))

    async def _serve(self, scope: CancelScope, service: str, handler: Handler, end: Handle) -> None:
        try:
            with scope:
                if not scope.cancel_called:  # else it would go as far as its first wait, though it may not
                    await handler(end, self._peer)
        except SessionLost:
            logger.info("the service %r for %s ended with a session", service, self._peer.name)
            end._forsake("handler-failed", f"the service {_name(service)} lost a session that it needed")
        except (ChannelFailed, DecodeError) as exc:  # the peer's doing: no traceback for each of its messages
            logger.info("the service %r for %s ended: %s", service, self._peer.name, str(exc))
            end._forsake("handler-failed", f"the service {_name(service)} ended because of what it received")
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

    def _failed(self, service: str, end: Handle) -> None:
        """It raised. What it raised is for our log only: it may quote what is nobody's business."""
        logger.exception("the service %r failed for %s", service, self._peer.name)
        _forget_locals(sys.exception())
        end._forsake(
            "handler-failed", f"the service {_name(service)} raised an exception; the log over there says which"
        )

    def stop(self, grant: Grant | None) -> None:
        """Cancel those that the peer may not use any more: they hold ends that have travelled to them."""
        for scope, service in self._running.items():
            if grant is None or not grant.allows(service):
                scope.cancel()
