# search.py
from typing import Any

import anyio
import chanlink

from books import BOOKS


async def search(requests: chanlink.Receiver[dict[str, Any]]) -> None:
    async for request in requests:
        async with request["found"] as found:
            for title, lines in BOOKS.items():
                for line in lines:
                    if request["word"] in line:
                        await found.send({"book": title, "line": line})


async def ask(library: chanlink.Sender[dict[str, Any]], word: str) -> None:
    found, answers = chanlink.pipe()
    await library.send({"word": word, "found": found})
    async for answer in answers:
        print(f"{word}: {answer['line']}")


async def main() -> None:
    library, requests = chanlink.pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(search, requests)
        async with library:
            await ask(library, "sea")
            await ask(library, "jump")
            await ask(library, "penguin")


anyio.run(main)
