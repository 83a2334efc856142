"""The store: an interface, and a folder that implements it."""

import hashlib
import re
from collections.abc import AsyncGenerator
from typing import Protocol

import anyio
import chanlink


class Refused(chanlink.CallFailed):
    """This can't be stored; the text says why."""


class Store(Protocol):
    async def have(self, digest: str) -> int: ...  # bytes that are there, of a file with this SHA-256
    def put(  # bytes that are there, after each piece
        self, name: str, digest: str, begin: int, body: chanlink.ByteStream
    ) -> AsyncGenerator[int, None]: ...


STORE = chanlink.Interface(Store, raises=[Refused])


class Folder:
    """A file has its name once it is whole. Until then its name is its SHA-256, so that a part belongs to one file."""

    def __init__(self, path: anyio.Path) -> None:
        self._path = path
        self._written: set[str] = set()
        """The digests of files that somebody writes just now."""

    async def have(self, digest: str) -> int:
        part = self._part(digest)
        return (await part.stat()).st_size if await part.exists() else 0

    async def put(self, name: str, digest: str, begin: int, body: chanlink.ByteStream) -> AsyncGenerator[int, None]:
        if not re.fullmatch(r"\w[\w. -]{0,99}", name):  # it came from somebody else
            raise Refused(f"{name!r} is no name for a file here")
        part = self._part(digest)
        if digest in self._written:
            raise Refused("somebody else is uploading this file")
        self._written.add(digest)
        try:
            async with body, await part.open("ab") as file:
                if await file.tell() != begin:
                    raise Refused(f"{await file.tell()} bytes of it are here, not {begin}")
                async for piece in body:
                    await file.write(piece)
                    await file.flush()
                    yield await file.tell()
            await self._whole(part, digest, name)
        finally:
            self._written.remove(digest)

    async def _whole(self, part: anyio.Path, digest: str, name: str) -> None:
        """Give the file its name, if it is the one that was said."""
        if await anyio.to_thread.run_sync(_digest_of, part) != digest:
            await part.unlink()
            raise Refused("it has another SHA-256 than was said")
        await part.rename(self._path / name)

    def _part(self, digest: str) -> anyio.Path:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise Refused("that is no SHA-256")
        return self._path / f"{digest}.part"


def _digest_of(path: anyio.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
