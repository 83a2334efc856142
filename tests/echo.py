"""A service that answers, and what asks it: for tests of everything around an answer."""

from typing import Any

import chanlink
from chanlink import Peer, Receiver, Session


async def echo(requests: Receiver[Any], peer: Peer) -> None:
    """A service that answers with the value of each request; what is none is passed over."""
    async for request in requests:
        if isinstance(request, dict) and "reply" in request:
            async with request["reply"] as reply:
                await reply.send(request.get("value"))


async def ask(session: Session, value: object = "hello", service: str = "echo") -> Any:
    """What `echo` answers."""
    async with await session.open(service) as requests:
        reply, replies = chanlink.pipe()
        await requests.send({"value": value, "reply": reply})
        return await replies.receive()
