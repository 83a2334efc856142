# some.py
from contextlib import aclosing

import anyio

from visit import visit


async def main() -> None:
    async with visit() as library:
        async with aclosing(library.search("m")) as results:
            async for found in results:
                print(f"{found.book}: {found.line}")
                break  # one is enough
        print("that will do")


anyio.run(main)
