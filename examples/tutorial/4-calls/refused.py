# refused.py
from typing import Any

import anyio
import chanlink

from catalogue import NoSuchBook
from visit import visit


async def main() -> None:
    async with visit() as library:
        try:
            await library.line("The Raven")
        except NoSuchBook as error:
            print(f"{error.text}, but {' and '.join(error.detail)}")
        try:
            await library.line("My Shadow", number=99)
        except chanlink.CallFailed as error:
            print(error)
        number: Any = "two"  # without `Any`, a type checker finds this
        try:
            await library.line("My Shadow", number)
        except chanlink.CallRefused as error:
            print(error)


anyio.run(main)
