# workers.py
import anyio
import chanlink

from books import BOOKS


async def count(titles: chanlink.Receiver[str], results: chanlink.Sender[str]) -> None:
    async with results:
        async for title in titles:
            words = sum(len(line.split()) for line in BOOKS[title])
            await results.send(f"{title}: {words} words")


async def main() -> None:
    titles, waiting = chanlink.pipe()
    results, counted = chanlink.pipe()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(count, waiting, results.clone())
        results.close()  # ours; the channel ends with its last clone
        async with titles:
            for title in BOOKS:
                await titles.send(title)
        async for result in counted:
            print(result)
    print("all are counted")


anyio.run(main)
