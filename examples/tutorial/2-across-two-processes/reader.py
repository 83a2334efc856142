# reader.py
import sys
from typing import Any

import anyio
import chanlink


async def ask(library: chanlink.Sender[Any], word: str) -> None:
    found, answers = chanlink.pipe()
    await library.send({"word": word, "found": found})
    async for answer in answers:
        print(f"{word}: {answer['line']}")


async def main(key: str, word: str) -> None:
    async with (
        chanlink.connect(
            "tcp://127.0.0.1:9323",
            identity=chanlink.Identity.load(key),
            peer=chanlink.PublicKey.load("library_key.pub"),
            wait=10,  # seconds, if the library is still being started
        ) as session,
        await session.open("search") as library,
    ):
        await ask(library, word)


try:
    anyio.run(main, sys.argv[1], sys.argv[2])
except chanlink.ChanlinkError as error:
    sys.exit(f"{type(error).__name__}: {error}")
