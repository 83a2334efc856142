# librarians.py
from collections.abc import AsyncGenerator

import anyio
import chanlink

from catalogue import LIBRARY, Found, NoSuchBook

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


class Librarians:
    async def books(self) -> list[str]:
        return sorted(BOOKS)

    async def line(self, book: str, number: int = 1) -> str:
        return lines_of(book)[number - 1]

    async def search(self, word: str) -> AsyncGenerator[Found, None]:
        done = False
        try:
            for book, lines in BOOKS.items():
                for line in lines:
                    await anyio.sleep(0.1)  # a close look
                    if word in line:
                        yield Found(book, line)
            done = True
        finally:
            say("has looked at every line" if done else "stops looking")

    async def copy(self, book: str) -> list[str]:
        copied: list[str] = []
        say(f"takes the pen, for {book}")
        try:
            for line in lines_of(book):
                await anyio.sleep(1)
                copied.append(line)
            return copied
        finally:
            say(f"puts the pen away, for {book}")


def lines_of(book: str) -> list[str]:
    if book not in BOOKS:
        raise NoSuchBook(f"there is no {book!r} here", sorted(BOOKS))
    return BOOKS[book]


def say(words: str) -> None:
    print(f"{chanlink.current_call().peer.name}'s librarian {words}", flush=True)


async def main() -> None:
    await chanlink.serve(
        {"library": LIBRARY.serving(Librarians())},
        "tcp://127.0.0.1:9323",
        identity=chanlink.Identity.load("library_key"),
        trust=chanlink.Trust.load("readers"),
    )


try:
    anyio.run(main)
except KeyboardInterrupt:  # Ctrl-C
    pass
