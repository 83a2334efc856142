"""What sessions are doing just now: `Inspection`, and the service that tells it to ``chanlink top``."""

from hashlib import blake2b
from secrets import token_bytes
from typing import Any
from weakref import WeakSet

from anyio.lowlevel import checkpoint

from chanlink.arguments import expect
from chanlink.channels.channel import Receiver
from chanlink.errors import ChannelBroken
from chanlink.patterns.audience import next_sender
from chanlink.session.listening import Listener
from chanlink.session.peer import Peer
from chanlink.session.session import Session
from chanlink.session.snapshot import SessionState, snapshot

from .report import Kind, Report

SERVICE = "chanlink.top"
"""The name under which ``chanlink top`` looks for the service."""
REPORT = "chanlink.report"
"""The contract of a reply for whoever wants to be told of tasks, too. An older server does not know it, and tells what
it always has."""
MOST_TOLD = 20_000
"""Channels in a report."""


class Inspection:
    """Tells what sessions are doing: to this program by `snapshot`, and to others as a service.

    Make one, serve it (``services={chanlink.Inspection.SERVICE: inspection, ...}``), and have it `watch` the listener.
    ``chanlink top`` and ``chanlink graph`` show it then to every peer whose line in the trust file allows this service:
    also the names, addresses and services of all others, and the names of tasks and functions of this program. So give
    the lines of those who should not see that a ``services=``.
    """

    SERVICE = SERVICE

    def __init__(self) -> None:
        self._watched: WeakSet[Listener | Session] = WeakSet()
        self._key = token_bytes(16)

    def watch(self, source: Listener | Session) -> None:
        """Tell of this session, or of all sessions of this listener, as long as they live."""
        expect("source", source, Listener, Session)
        self._watched.add(source)

    def sessions(self) -> list[Session]:
        """Those that are open now, the oldest first."""
        found: set[Session] = set()
        for source in self._watched:
            found.update(source.sessions if isinstance(source, Listener) else [source])
        return sorted((one for one in found if not one.closed), key=lambda one: -one.statistics().age)

    def snapshot(self) -> list[SessionState]:
        """What they are doing now."""
        return [snapshot(session) for session in self.sessions()]

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        """The service: each message is a `Sender`, which gets the map of each session, and is closed.

        To one with the contract `REPORT` a map of the process goes first, and the sessions tell of its tasks, too.
        """
        while (reply := await next_sender(requests)) is not None:
            try:
                async with reply:
                    if reply._send_core.contract == REPORT.encode():
                        for told in self._report():
                            await reply.send(told)
                        continue
                    for session in self.sessions():
                        await checkpoint()  # each takes some milliseconds if it has a thousand channels
                        await reply.send(snapshot(session).to_map())
            except ChannelBroken:
                continue  # it is not wanted any more

    def _report(self) -> list[dict[str, Any]]:
        """All of one moment."""
        report = Report(self.sessions(), self._number)
        told, room = [], MOST_TOLD
        for session in report.sessions:
            told.append(report.session(session, room))
            room -= len(told[-1]["channels"])
        return [{"process": self._number("session", 0), **report.process()}, *told]

    def _number(self, kind: Kind, one: int) -> int:
        """The same each time, and not the place in memory."""
        name = f"{kind} {one}".encode()
        return int.from_bytes(blake2b(name, key=self._key, digest_size=6).digest())
