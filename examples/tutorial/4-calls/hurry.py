# hurry.py
import anyio

from visit import visit


async def main() -> None:
    async with visit() as library:
        with anyio.fail_after(1.5):
            print(await library.copy("My Shadow"))


anyio.run(main)
