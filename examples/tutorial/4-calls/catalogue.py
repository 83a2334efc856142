# catalogue.py
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

import chanlink


@dataclass
class Found:
    book: str
    line: str


class NoSuchBook(chanlink.CallFailed):
    detail: list[str]  # those that there are


class Library(Protocol):
    async def books(self) -> list[str]: ...
    async def line(self, book: str, number: int = 1) -> str: ...
    def search(self, word: str) -> AsyncGenerator[Found, None]: ...  # many results, one after the other
    async def copy(self, book: str) -> list[str]: ...  # by hand, which takes a second a line


LIBRARY = chanlink.Interface(Library, raises=[NoSuchBook])
