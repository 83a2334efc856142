# library.py
from typing import Any

import anyio
import chanlink

BOOKS = {
    "The Walrus and the Carpenter": [
        "The sun was shining on the sea,",
        "Shining with all his might:",
        "He did his very best to make",
        "The billows smooth and bright.",
    ],
    "My Shadow": [
        "I have a little shadow that goes in and out with me,",
        "And what can be the use of him is more than I can see.",
    ],
}


async def search(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for request in requests:
        print(f"{peer.name} looks for {request['word']!r}", flush=True)
        async with request["found"] as found:
            for title, lines in BOOKS.items():
                for line in lines:
                    if request["word"] in line:
                        await found.send({"book": title, "line": line})


async def main() -> None:
    await chanlink.serve(
        {"search": search},
        "tcp://127.0.0.1:9323",
        identity=chanlink.Identity.load("library_key"),
        trust=chanlink.Trust.load("readers"),
    )


try:
    anyio.run(main)
except KeyboardInterrupt:  # Ctrl-C
    pass
