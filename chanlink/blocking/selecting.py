"""What `Loop.select` does in the event loop."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio

import chanlink
from chanlink import Selected

from .ends import Closing, End, Receiver, Sending, received_here, to_send, within
from .portal import Portal

Case = Receiver[Any] | Sending | Closing


class Selecting:
    """One call of it."""

    def __init__(self, portal: Portal, cases: Sequence[Case], timeout: float | None) -> None:
        self._portal = portal
        self._cases = cases
        self._timeout = timeout

    async def select(self) -> Selected:
        """The case that happened, with the end for threads."""
        for index, case in enumerate(self._cases):
            if isinstance(case, Receiver) and case._kept:
                return Selected(index, case, case._kept.popleft(), None)
        cases = [self._as_async(index, case) for index, case in enumerate(self._cases)]
        try:
            selected = chanlink.select_nowait(*cases)
        except anyio.WouldBlock:
            selected = await within(self._timeout, partial(chanlink.select, *cases))
        value = received_here(selected.value, self._portal)
        return selected._replace(channel=_end_of(self._cases[selected.index]), value=value)

    def keep(self, selected: Selected) -> None:
        """The thread has left without it."""
        if isinstance(selected.channel, Receiver) and selected.error is None:
            selected.channel._kept.append(selected.value)

    def _as_async(self, index: int, case: Case) -> Any:
        match case:
            case Receiver():
                return case.end
            case Sending(end, item):
                return end.end.sending(to_send(item, self._portal))
            case Closing(end):
                return end.end.closing()
        wanted = "a receiver, sender.sending(item) or end.closing()"
        raise TypeError(f"case {index} must be {wanted}, not {type(case).__name__}")


def _end_of(case: Case) -> End:
    return case if isinstance(case, Receiver) else case.end
