"""Asks a server what it is doing."""

from typing import Any

import anyio

import chanlink
from chanlink.command.problems import Problem

SERVICE = "chanlink.top"
REPORT = "chanlink.report"
LONGEST = 64 * 1024 * 1024
"""Bytes of a report: some two hundred sessions with a thousand channels each."""
PATIENCE = 10.0


async def ask(session: chanlink.Session, requests: chanlink.Sender[Any], *, tasks: bool) -> list[dict[str, Any]]:
    """A map of each session; with `tasks` one of the process first, if the server is not an older one."""
    sender, receiver = chanlink.pipe(contract=REPORT if tasks else None)
    found: list[dict[str, Any]] = []
    before = session.statistics().volume
    async with receiver:
        await requests.send(sender)
        with anyio.move_on_after(PATIENCE) as patience:
            async for state in receiver:
                if not isinstance(state, dict) or not isinstance(state.get("channels", state.get("tasks")), list):
                    raise Problem("the server's report is not one that this version knows")
                if session.statistics().volume - before > LONGEST:
                    raise Problem("the server's report is too long")
                found.append(state)
    if patience.cancelled_caught:
        raise Problem(f"the server did not answer within {PATIENCE:g} s")
    return found
