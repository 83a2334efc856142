"""What sessions are doing just now: `Inspection`, and the service that tells it to ``chanlink top``."""

from typing import Any
from weakref import WeakSet

from anyio.lowlevel import checkpoint

from chanlink.channels.channel import Receiver, Sender
from chanlink.errors import ChannelBroken
from chanlink.session.listening import Listener
from chanlink.session.peer import Peer
from chanlink.session.session import Session
from chanlink.session.snapshot import SessionState, snapshot

SERVICE = "chanlink.top"
"""The name under which ``chanlink top`` looks for the service."""


class Inspection:
    """Tells what sessions are doing: to this program by `snapshot`, and to others as a service.

    Make one, serve it (``services={chanlink.Inspection.SERVICE: inspection, ...}``), and have it `watch` the listener.
    ``chanlink top`` shows it then to every peer whose line in the trust file allows this service: also the names,
    addresses and services of all others, so give the lines of those who should not see that a ``services=``.
    """

    SERVICE = SERVICE

    def __init__(self) -> None:
        self._watched: WeakSet[Listener | Session] = WeakSet()

    def watch(self, source: Listener | Session) -> None:
        """Tell of this session, or of all sessions of this listener, as long as they live."""
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
        """The service: each message is a `Sender`, which gets the map of each session, and is closed."""
        async for reply in requests:
            if not isinstance(reply, Sender):
                requests.refuse("bad-request", "a message to this service is a sender")
                return
            try:
                async with reply:
                    for session in self.sessions():
                        await checkpoint()  # each takes some milliseconds if it has a thousand channels
                        await reply.send(snapshot(session).to_map())
            except ChannelBroken:
                continue  # it is not wanted any more
