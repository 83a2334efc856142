"""The worker threads of copies."""

import hashlib
from collections.abc import Callable
from typing import IO, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

THREADS = 4
"""For each peer that copies, however many copies it has."""
HASHED = 8 * 1024 * 1024
"""Bytes that are hashed in one go, in some milliseconds: no copy is cancelled in the middle of it."""
PIECE = 1024 * 1024

T = TypeVar("T")
Args = TypeVarTuple("Args")


class Threads:
    """Runs calls that block.

    Never in the threads that everybody shares: copies could keep those busy, and the trust file would not be read
    again. Nor do peers that copy wait for each other's disks.
    """

    def __init__(self) -> None:
        """Make it in an event loop."""
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def run(self, function: Callable[[*Args], T], *args: *Args) -> T:
        """Cancelled: waits until the call is over. So each call is a short one."""
        return await anyio.to_thread.run_sync(function, *args, limiter=self._limiter)

    async def hash(self, file: IO[bytes], digest: hashlib.blake2b, size: int, tell: Callable[[], None]) -> int:
        """Add this many bytes of a file to a hash; returns how many there were.

        ``tell`` is called now and then: it raises when nobody waits for the hash any more.
        """
        hashed = 0
        while count := await self.run(_hash, file, digest, min(HASHED, size - hashed)):
            hashed += count
            tell()
        return hashed


def _hash(file: IO[bytes], digest: hashlib.blake2b, size: int) -> int:
    buffer = memoryview(bytearray(PIECE))
    hashed = 0
    while hashed < size:
        count = file.readinto(buffer[: size - hashed])  # type: ignore[attr-defined]
        if not count:
            break
        digest.update(buffer[:count])
        hashed += count
    return hashed
