# patient.py
import sys

import anyio
import chanlink

from visit import visit


async def main() -> None:
    async with visit() as library:
        print(await library.copy("The Walrus and the Carpenter"))


try:
    anyio.run(main)
except chanlink.CallError as error:
    sys.exit(f"{type(error).__name__}: {error}")
