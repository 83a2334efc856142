"""What goes with an attempt: its submitter is asked for it, and the job waits for that before it goes to its worker."""

from typing import Any

import anyio
from anyio import CancelScope

from chanlink.channels.channel import pipe
from chanlink.errors import ChannelError, DecodeError

from .attempts import Attempt, Attempts, pause
from .followers import Follower, Followers
from .line import Line
from .outcomes import Outcomes
from .requests import refuse_ends
from .store import Begun


class Attaching:
    """One attempt that waits for what goes with it."""

    def __init__(self, begun: Begun, line: Line, attempts: Attempts, outcomes: Outcomes) -> None:
        """The line has a reservation for it, until it is released."""
        self._begun = begun
        self._line: Line | None = line
        self._attempts = attempts
        self._outcomes = outcomes
        self._scope = CancelScope()

    async def run(self, followers: Followers, seconds: float) -> None:
        """Ask for it, wait so many seconds, and give it to the worker; or let the job wait for another attempt.

        While nobody is there to ask, the worker gets another job, and this one begins as soon as somebody is.
        """
        attempt = Attempt(self._begun, self, 0)
        self._attempts.add(attempt)
        self._attempts.rest(attempt)  # its submitter is asked, and not its worker
        try:
            with self._scope:
                if (submitter := followers.attaching(attempt.id)) is None:
                    self._release()
                    with anyio.move_on_after(seconds):
                        await followers.until_attaching(attempt.id)
                    self._failed("its submitter was not there to send what goes with it", 0.0)
                else:
                    await self._ask(submitter, seconds)
        finally:
            self._attempts.remove(attempt)
            self._release()

    async def _ask(self, submitter: Follower, seconds: float) -> None:
        sender, receiver = pipe(1)
        submitter.attach(self._begun.attempt, sender)
        try:
            with anyio.fail_after(seconds):
                async with receiver:
                    attachment = await receiver.receive()
        except (ChannelError, DecodeError, TimeoutError):
            self._failed("its submitter did not send what goes with it", pause(self._begun.tries))
            return
        if self._scope.cancel_called:
            refuse_ends(attachment)
        else:
            self._give(attachment)

    def _give(self, attachment: Any) -> None:
        line, self._line = self._line, None
        assert line is not None
        if not line.give(self._begun, attachment):
            refuse_ends(attachment)
            self._failed("its worker was lost", 0.0)

    def _failed(self, why: str, after: float) -> None:
        self._outcomes.lost(self._begun, why, after)

    def _release(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.release()

    # --- as a holder ---

    def counted(self, attempt: Attempt) -> None:
        raise AssertionError("nobody has it yet")

    def stale(self, attempt: Attempt) -> None:
        self._scope.cancel()
