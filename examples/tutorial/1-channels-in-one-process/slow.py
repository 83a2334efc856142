# slow.py
import anyio
import chanlink


async def produce(numbers: chanlink.Sender[int]) -> None:
    async with numbers:
        for number in range(5):
            await numbers.send(number)
            print("sent", number)


async def main() -> None:
    sender, receiver = chanlink.pipe(2)  # two messages may lie in the channel
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce, sender)
        await anyio.sleep(0.1)
        async for number in receiver:
            print("     took", number)
            await anyio.sleep(0.1)  # this is slow work


anyio.run(main)
