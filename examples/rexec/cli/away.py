"""A session that has no connection for a while: what is said of it, and that a run ends at once all the same."""

from collections.abc import Callable

import anyio

import chanlink

QUIET = 1.0
"""Seconds after which it is said. Most breaks are over before, and a line is in the way of what is on a screen."""
FAREWELL = 1.0
"""Seconds in which the other side is told that we leave, whatever became of the connection."""


async def tell_breaks(session: chanlink.Session, name: str, way_out: str, say: Callable[[str], None]) -> None:
    """Say in a line when the connection is away, and when it is back. ``way_out`` is what gives up.

    Returns at the end of the session.
    """
    states = session.states()
    state: str = await anext(states)
    while state != "closed":
        began = anyio.current_time()
        following: str | None = None
        with anyio.move_on_after(QUIET if state == "away" else None):
            following = await anext(states)
        if following is None:
            say(f"{name}: no connection; the command waits for another one. {way_out} gives up, which stops it later")
            following = await anext(states)
            if following != "closed":
                say(f"{name}: connected again after {anyio.current_time() - began:.0f} s")
        state = following


async def abort_soon(session: chanlink.Session) -> None:
    """Leave it: at once if it is away, and else within the time of a farewell."""
    if session.state != "away":
        await anyio.sleep(FAREWELL)
    session.abort()
