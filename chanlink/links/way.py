"""How calls of a client find the session that there is; which of them are called again."""

import random
from typing import Any, Protocol

import anyio

from chanlink.calls.client import Way
from chanlink.calls.method import Method
from chanlink.channels.channel import Sender
from chanlink.errors import (
    CallError,
    CallLost,
    CallRefused,
    ChannelFailed,
    ChannelRefused,
    ConfigError,
    SessionError,
    SessionLost,
)
from chanlink.instrument import Instruments
from chanlink.session.session import Session

STOPPED = "cancelled"
"""What becomes of the channels of a server that is stopped without draining, by Ctrl-C or by an exception."""
NEVER_BEGAN = ("draining", "session-lost", STOPPED)
"""Codes of calls that the next session may take: the server, or a connection, ended before them."""
PAUSE = 0.5
"""Seconds, at most, before the same session is asked again: what refuses, or was lost, is beyond it."""


def takes_channels(session: Session) -> bool:
    """Whether it does, as far as it is known: one that is away goes on when it is back."""
    return session.state in ("open", "away")


class Sessions(Protocol):
    """What it needs of a `Link`."""

    async def session(self) -> Session:
        """The session that there is, or the next one."""


class LinkWay(Way):
    """Requests go to a service of the peer of the session that there is now."""

    def __init__(self, link: Sessions, service: str, instruments: Instruments | None = None) -> None:
        if not isinstance(service, str):
            raise TypeError(f"a client calls a service by its name, not by {service!r:.70}")
        self._link = link
        self._instruments = instruments
        self._service = service
        self._latest: tuple[Session, Sender[Any]] | None = None

    @property
    def instruments(self) -> Instruments | None:
        return self._instruments

    async def requests(self) -> Sender[Any]:
        while True:
            try:
                session = await self._link.session()
            except (SessionError, ConfigError) as exc:
                raise CallRefused("no-session", str(exc)) from exc
            try:
                requests = session._shared(self._service)
            except (ChannelRefused, SessionError) as exc:
                if takes_channels(session):
                    raise CallRefused(exc.code, str(exc)) from exc
            else:
                self._latest = session, requests
                return requests

    async def calls_again(self, method: Method, error: CallError, requests: Sender[Any] | None) -> bool:
        match error:
            case CallRefused():
                again = error.code in NEVER_BEGAN
            case CallLost():
                again = method.idempotent and _server_ended(error.cause)
            case _:
                again = False
        if again and self._latest is not None:
            session, latest = self._latest
            if latest is requests and takes_channels(session):
                await anyio.sleep(random.uniform(0, PAUSE))
        return again


def _server_ended(cause: BaseException) -> bool:
    return isinstance(cause, SessionLost) or (isinstance(cause, ChannelFailed) and cause.code == STOPPED)
