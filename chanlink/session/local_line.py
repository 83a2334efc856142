"""The line of a client's session to the daemon that has handed it over (protocol section 16.4).

It says when the session must end. When it breaks it is made again for as long as the session lasts: a daemon that is
restarted ends no session, and one that knows this session no more does.
"""

from contextlib import suppress

import anyio

from chanlink.backoff import Backoff
from chanlink.errors import ConfigError, SessionError
from chanlink.handover.messages import Attach, Attached, Changed, Message, Over
from chanlink.handover.passing import Line, open_line
from chanlink.printing import printable_logger

from .local_vouching import LocalVouching

logger = printable_logger(__name__)

LONGEST_PAUSE = 5.0
"""Seconds between two attempts to reach the daemon again, at most."""


class ControlLine:
    """The line of one session. `keep` is its task."""

    def __init__(self, line: Line, path: str, id: bytes, vouching: LocalVouching) -> None:
        self._line = line
        self._path = path
        self._id = id
        self._vouching = vouching
        self._backoff = Backoff(LONGEST_PAUSE)

    def replace(self, line: Line) -> None:
        """This is the line from now on: the session has come back by it."""
        before, self._line = self._line, line
        before.close()

    def close(self) -> None:
        """The session is over."""
        self._line.close()

    async def keep(self) -> None:
        """Do what the daemon says, for as long as the session lasts."""
        while True:
            line = self._line
            try:
                self._take((await line.receive_any([Over, Changed, Attached])).message)
            except SessionError as exc:
                line.close()
                if line is self._line:
                    logger.info("the line to the daemon is broken, and made again: %s", exc)
                    await self._make_again(line)

    def _take(self, message: Message) -> None:
        self._backoff = Backoff(LONGEST_PAUSE)
        match message:
            case Over(id=self._id, code=code):
                self._vouching.over(code)
            case Changed(id=self._id, name=name, expires=expires):
                self._vouching.changed(name, expires)
            case Attached(id=self._id, expires=expires):
                self._vouching.changed(None, expires)

    async def _make_again(self, broken: Line) -> None:
        while self._line is broken:  # else the session has come back meanwhile
            await anyio.sleep(self._backoff.pause())
            try:
                line = await open_line(self._path)
            except (SessionError, ConfigError):  # of the second sort, a group that this user is not in any more
                continue
            if self._line is not broken:
                line.close()
                return
            self._line = line
            with suppress(SessionError):  # `keep` sees it
                await line.send(Attach(id=self._id))
