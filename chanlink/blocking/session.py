"""`connect`, and `Session`: a session, and the event loop that it lives in, for threads."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from anyio.abc import ByteStreamConnectable

import chanlink
from chanlink import Interface, Local, Peer, patterns
from chanlink.arguments import expect

from .ends import ByteStream, Sender
from .held import Held
from .loop import Loop
from .portal import Portal
from .queue import QueueClient

if TYPE_CHECKING:
    from typing_extensions import TypeForm

J = TypeVar("J")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Session(Loop):
    """A session for threads; any number of them may use it. Made by `connect`. Otherwise as `chanlink.Session`."""

    def __init__(self, portal: Portal, session: chanlink.Session, block: object) -> None:
        super().__init__(portal)
        self._block = block  # which is left when nobody holds it: it may have been entered by hand, in a notebook
        self.session = session
        """The async session, for the event loop: to call its verbs is for functions that run there."""

    def __repr__(self) -> str:
        return f"<blocking {self.session!r}>"

    @overload
    def open(self, service: str, *, capacity: int | None = None, contract: str | None = None) -> Sender[Any]: ...

    @overload
    def open(
        self,
        service: str,
        item_type: type[T],
        capacity: int | None = None,
        *,
        check: bool = False,
        contract: str | None = None,
    ) -> Sender[T]: ...

    @overload
    def open(
        self,
        service: str,
        item_type: "TypeForm[T]",
        capacity: int | None = None,
        *,
        check: bool = False,
        contract: str | None = None,
    ) -> Sender[T]: ...

    def open(
        self,
        service: str,
        item_type: Any = Any,
        capacity: int | None = None,
        *,
        check: bool = False,
        contract: str | None = None,
    ) -> Sender[Any]:
        """Open a channel to a service of the peer, as `chanlink.Session.open`."""

        async def open() -> Sender[Any]:
            sender = await self.session.open(service, item_type, capacity, check=check, contract=contract)
            return Sender(self._portal, sender)

        return self._portal.run(open, lambda sender: sender.end.close())

    def open_stream(self, service: str) -> ByteStream:
        """Open a byte stream to a service of the peer, as `chanlink.Session.open_stream`."""

        async def open() -> ByteStream:
            return ByteStream(self._portal, await self.session.open_stream(service))

        return self._portal.run(open, lambda stream: stream.end.close())

    def client(self, interface: Interface[T], service: str) -> T:
        """A client of a service of the peer, as `chanlink.Interface.client`: its methods are for `call` and `iterate`.

        ``session.call(calc.add, 1, 2, timeout=2)``: the service gets the deadline, too.
        """
        expect("interface", interface, Interface)
        return self._portal.run_sync(lambda: interface.client(self.session, service))

    @overload
    def queue(self, service: str) -> QueueClient[Any, Any]: ...

    @overload
    def queue(self, service: str, job_type: type[J]) -> QueueClient[J, Any]: ...

    @overload
    def queue(self, service: str, job_type: "TypeForm[J]") -> QueueClient[J, Any]: ...

    @overload
    def queue(self, service: str, job_type: type[J], result_type: type[R]) -> QueueClient[J, R]: ...

    @overload
    def queue(self, service: str, job_type: "TypeForm[J]", result_type: "TypeForm[R]") -> QueueClient[J, R]: ...

    def queue(self, service: str, job_type: Any = Any, result_type: Any = Any) -> QueueClient[Any, Any]:
        """What brings jobs to a work queue that is a service of the peer, and works on them.

        As `chanlink.patterns.queue_client`.
        """

        def client() -> patterns.QueueClient[Any, Any]:
            return patterns.queue_client(self.session, service, job_type, result_type)

        return QueueClient(self._portal, self._portal.run_sync(client))

    def ping(self, timeout: float | None = None) -> float:
        """Measure the round trip to the peer's session, in seconds."""
        return self.call(self.session.ping, timeout=timeout)

    @property
    def peer(self) -> Peer:
        """Who the other side is."""
        return self.session.peer

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self.session.closed


class connect(AbstractContextManager[Session]):
    """Connect to a listener and open a session, for a ``with`` block of a thread.

    ``backend`` is ``"asyncio"`` or ``"trio"``, and ``backend_options`` are as of `anyio.run`. All other parameters, and
    what is raised, are those of `chanlink.connect`; besides, `ConfigError` if there is no such backend, and
    `RuntimeError` inside an event loop. ``services`` are async functions: they run in the event loop.
    """

    def __init__(
        self,
        address: str | ByteStreamConnectable | Local,
        *,
        backend: str = "asyncio",
        backend_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._portal = Portal(backend, backend_options)
        self._held = Held(self._portal, chanlink.connect(address, **options))

    def __enter__(self) -> Session:
        self._portal.start()
        try:
            return Session(self._portal, self._held.__enter__(), self._held)
        except BaseException:
            self._portal.stop()
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        try:
            return self._held.__exit__(exc_type, exc, tb)
        finally:
            self._portal.stop()
