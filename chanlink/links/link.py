"""`Link`: what a program holds; the session that there is now, and the wait for the next one."""

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import anyio
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect
from chanlink.calls.interface import Interface
from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Sender
from chanlink.channels.waiting import Waiters
from chanlink.errors import ChanlinkError, ChannelRefused, ConnectFailed, SessionClosed, SessionError
from chanlink.instrument import Instrument, Instruments
from chanlink.session.session import Session
from chanlink.session.states import States

from .way import LinkWay, takes_channels

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = TypeVar("P")
T = TypeVar("T")

LinkState = Literal["connecting", "ready", "away", "draining", "waiting", "refused", "closed"]
"""Of a link. See `Link.state`."""
PATIENCE = 10.0
"""Seconds for which a caller without a deadline waits for a session."""


class Link:
    """Sessions with a server, one after the other. Made by `reconnecting`."""

    def __init__(self, name: str, instruments: Instruments | None = None) -> None:
        self._name = name
        self._instruments = instruments
        """Those that are told of it; None if there are none."""
        self._session: Session | None = None
        self._state: LinkState = "connecting"
        self._problem: ChanlinkError | None = None
        """Why there is no session; in state ``refused``, why there will be none."""
        self._changes = Waiters()
        self._callers = Waiters()
        """Those that wait for a session: there may be thousands, and most changes are nothing to them."""

    # --- about it ---

    @property
    def state(self) -> LinkState:
        """What it is doing.

        ``connecting``; ``ready``: there is a session that takes calls; ``away``: it has no connection for the moment,
        and takes calls, which go on when it has come back (``resume=`` of `reconnecting`); ``draining``: the server
        takes no more on the session that there is, and the next one is on its way, while calls that have begun go on;
        ``waiting``: for a moment, before it connects again; ``refused``: it has given up, since the server has the
        wrong key or does not trust ours; ``closed``: its block was left.
        """
        return self._state

    def states(self) -> States[LinkState]:
        """An async iterator of the states: the current one first, then each change, and ``closed`` at last.

        Whoever looks seldom may miss one between two others, never the last.
        """
        return States(lambda: self._state, self._changes)

    @property
    def problem(self) -> ChanlinkError | None:
        """Why there is no session: the error of the last attempt, or of the session before. None while there is one."""
        return self._problem

    def __repr__(self) -> str:
        return f"<Link to {self._name!r}: {self._state}>"

    # --- what it is for ---

    async def session(self) -> Session:
        """The session that there is now; if there is none that takes channels, the next one.

        It may be lost at any moment, as any session. Whoever waits here waits as long as the cancel scopes around it
        let it, and 10 s if none has a deadline; then it raises `ConnectFailed`, whose cause is what went wrong last. At
        once it raises `WrongPeer`, `UntrustedPeer` or `ConfigError` when the link has given up, and `SessionClosed`
        when it is closed.
        """
        await checkpoint()
        if self._is_usable():
            assert self._session is not None
            return self._session
        patience = PATIENCE if anyio.current_effective_deadline() == math.inf else None
        with anyio.move_on_after(patience):
            while not self._is_usable():
                self._check()
                await self._callers.wait()
            assert self._session is not None
            return self._session
        raise ConnectFailed(f"{self._name}: no session within {PATIENCE:g} s") from self._problem

    @overload
    async def open(self, service: str, *, capacity: int | None = None) -> Sender[Any]: ...

    @overload
    async def open(
        self, service: str, item_type: type[T], capacity: int | None = None, *, check: bool = False
    ) -> Sender[T]: ...

    @overload
    async def open(
        self, service: str, item_type: "TypeForm[T]", capacity: int | None = None, *, check: bool = False
    ) -> Sender[T]: ...

    async def open(
        self, service: str, item_type: Any = Any, capacity: int | None = None, *, check: bool = False
    ) -> Sender[Any]:
        """Open a channel to a service of the server, as `Session.open`, once there is a session.

        The channel is of that session, and is lost with it. Raises as `session`, too.
        """
        expect("service", service, str)
        while True:
            session = await self.session()
            try:
                return await session.open(service, item_type, capacity, check=check)
            except (ChannelRefused, SessionError) as exc:
                _check_never_opened(exc, session)

    async def open_stream(self, service: str) -> ByteStream:
        """Open a byte stream to a service of the server; otherwise as `open`."""
        expect("service", service, str)
        while True:
            session = await self.session()
            try:
                return await session.open_stream(service)
            except (ChannelRefused, SessionError) as exc:
                _check_never_opened(exc, session)

    def client(self, interface: Interface[P], service: str) -> P:
        """A client of a service of the server, as `Interface.client`, that goes on with each new session.

        A call waits until there is a session, as `session` does, and is `CallRefused` with code ``no-session`` if there
        is none. One that never began, because its session was lost or draining, or its server was stopped, is called
        again by the next one. One that was under way then is `CallLost`, unless its method is `chanlink.idempotent`:
        then it is called again, too. Nothing is called again once items of a stream have arrived, or if ends have left
        with it.
        """
        expect("interface", interface, Interface)
        return interface.client_by(LinkWay(self, service, self._instruments))

    # --- for its keeper ---

    def ready(self, session: Session) -> None:
        """There is a session."""
        self._session, self._problem = session, None
        self._set("ready")

    def away(self) -> None:
        """The session that there is has no connection for the moment."""
        self._set("away")

    def without(self, state: LinkState, problem: ChanlinkError | None = None) -> None:
        """There is none that takes channels."""
        self._problem = problem or self._problem
        self._set(state)

    def _set(self, state: LinkState) -> None:
        if self._state == "closed":  # the last one, though its keeper may find something out while it stops
            return
        if self._instruments is not None and state != self._state:
            self._instruments.tell(Instrument.link_changed, self._name, state)
        self._state = state
        self._changes.wake_all()
        if state in ("ready", "away", "refused", "closed"):
            self._callers.wake_all()

    def _is_usable(self) -> bool:
        return self._state in ("ready", "away") and self._session is not None and takes_channels(self._session)

    def _check(self) -> None:
        """Raise if there will be no session."""
        if self._state == "refused":
            assert self._problem is not None
            raise _copy(self._problem)
        if self._state == "closed":
            raise SessionClosed("", "the link was closed")


def _copy(problem: ChanlinkError) -> ChanlinkError:
    """One exception that is raised twice would carry the tracebacks of both times."""
    if isinstance(problem, SessionError):
        return problem.again()
    copy = type(problem)(*problem.args)
    copy.__cause__ = problem
    return copy


def _check_never_opened(exc: ChannelRefused | SessionError, session: Session) -> None:
    """Raise it again unless it says that the session takes no channels any more: the next one may."""
    if takes_channels(session):
        raise exc
