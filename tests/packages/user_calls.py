"""A program of a user that calls a method, with types: in one process, since the other one shows two."""

from functools import partial
from typing import Protocol

import anyio

import chanlink


class Calculator(Protocol):
    async def add(self, a: int, b: int) -> int: ...


class MyCalculator:
    async def add(self, a: int, b: int) -> int:
        return a + b


CALC = chanlink.Interface(Calculator)


async def main() -> None:
    server, me = chanlink.Identity.generate(), chanlink.Identity.generate("alice")
    services = {"calc": CALC.serving(MyCalculator())}
    listening = partial(chanlink.listen, identity=server, trust=chanlink.Trust.of(me.public_key), services=services)
    async with (
        listening("tcp://127.0.0.1:0") as listener,
        chanlink.connect(listener.addresses[0], identity=me, peer=server.public_key) as session,
    ):
        total: int = await CALC.client(session, "calc").add(1, 2)
        print(total)


if __name__ == "__main__":
    anyio.run(main)
