# ask.py
import anyio

from visit import visit


async def main() -> None:
    async with visit() as library:
        for book in await library.books():
            print(f"{book}: {await library.line(book)}")
        print(await library.line("My Shadow", number=2))


anyio.run(main)
