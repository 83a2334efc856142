"""The sender of a copy: reads files and says what is in them.

The walk (`walk`) is advanced in worker threads, some entries at a time. Small files need no answer, so a folder of
many goes out as fast as it can be read.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import anyio

import chanlink

from ..attempts import Attempt
from ..messages import BadMessage
from .messages import ASK, CopyError, field, new_hash, size_field, why
from .place import Place
from .report import Remark, Report
from .threads import Threads
from .walk import CHANGED, WRONG_SIZE, Item, LargeFile, changed, read_some, sizes, walk

PIECE = 1024 * 1024
"""What is read at a time of a large file."""
AHEAD = 4
"""Pieces that are read before they can be sent."""
TOGETHER = 64
"""Entries that are read in one go: at most 4 MiB."""
COUNTED = 4096
"""Files that are counted in one go."""


async def send_files(
    entries: chanlink.Sender[Any],
    answers: chanlink.Receiver[Any],
    report: Report,
    *,
    threads: Threads,
    place: Place,
    paths: list[bytes],
    names: list[bytes],
    recursive: bool,
    total: bool,
) -> None:
    """Send files and folders, and report that it is done; with ``total``, also report how much there is.

    What can't be read is reported and left out. Raises `BadMessage` when the receiver says what can't be, and
    `chanlink.ChannelBroken` when it has given up or is lost.
    """
    walks = [walk(place, path, name, recursive) for path, name in zip(paths, names, strict=True)]
    async with entries, answers:
        sending = Attempt(_Sender(entries, answers, report, threads).send, walks)
        async with anyio.create_task_group() as counting:
            if total:
                counting.start_soon(Attempt(_count, place, paths, recursive, report, threads))
            await sending()
            counting.cancel_scope.cancel()
        sending.result()
    await report.done()


async def _count(place: Place, paths: list[bytes], recursive: bool, report: Report, threads: Threads) -> None:
    files = size = 0
    for path in paths:
        with closing(sizes(place, path, recursive)) as found:
            while batch := await threads.run(_counted, found):
                files += len(batch)
                size += sum(batch)
    await report.total(files, size)


def _counted(found: Iterator[int]) -> list[int]:
    return list(islice(found, COUNTED))


class _Sender:
    def __init__(
        self, entries: chanlink.Sender[Any], answers: chanlink.Receiver[Any], report: Report, threads: Threads
    ) -> None:
        self._entries = entries
        self._answers = answers
        self._report = report
        self._threads = threads

    async def send(self, walks: Iterable[Generator[Item, None, None]]) -> None:
        for items in walks:
            with closing(items):
                await self._send_all(items)

    async def _send_all(self, items: Iterator[Item]) -> None:
        while batch := await self._threads.run(_some, items):
            for item in batch:
                match item:
                    case Remark():
                        await self._report.say([item])
                    case LargeFile():
                        await self._send_large(item)
                    case _:
                        await self._entries.send(item)

    async def _send_large(self, file: LargeFile) -> None:
        start, digest = 0, new_hash()
        entry = file.entry
        if file.size >= ASK:
            await self._entries.send(entry)
            answer = await self._answers.receive()
            if not isinstance(answer, dict):
                raise BadMessage("an answer is a map")
            if answer.get("skip"):
                return
            start, digest = await self._agree(file, answer)
            entry = {"from": start}
        body, remote = chanlink.byte_pipe(file.size - start)
        async with body, remote:
            await self._entries.send({**entry, "body": remote})
            whole = await self._send_body(file, body, digest)
        await self._entries.send({"digest": digest.digest() if whole else None})

    async def _agree(self, file: LargeFile, answer: dict[str, Any]) -> tuple[int, hashlib.blake2b]:
        """Where to go on, and the hash up to there: at the end of what the receiver has, if it is of the same file."""
        have, theirs = size_field(answer, "have"), field(answer, "digest", bytes)
        if have <= file.size:
            try:
                hashed = await self._threads.hash(file.file, digest := new_hash(), have, self._report.tell)
            except OSError:
                hashed = -1  # it can't be read; sending it will say so
            if hashed == have and digest.digest() == theirs:
                return have, digest
        file.file.seek(0)
        return 0, new_hash()

    async def _send_body(self, file: LargeFile, body: chanlink.ByteStream, digest: hashlib.blake2b) -> bool:
        """Whether all of the file was sent, as it was when it was opened."""
        ready, waiting = chanlink.pipe(AHEAD)
        reading = Attempt(_read_pieces, file, digest, ready, self._threads)
        sending = Attempt(_send_pieces, waiting, body)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reading)
            tasks.start_soon(sending)
        try:
            reading.result()
            return sending.result()
        except (OSError, CopyError) as exc:
            await self._report.say([Remark(why(file.path, exc))])
            return False


async def _read_pieces(
    file: LargeFile, digest: hashlib.blake2b, pieces: chanlink.Sender[bytes], threads: Threads
) -> None:
    """Read on while others send. Raises `CopyError` at the end of a file that is not as it was."""
    async with pieces:
        while data := await threads.run(_read, file, digest):
            try:
                await pieces.send(data)
            except chanlink.ChannelRefused:
                return
        if problem := await threads.run(_ended_otherwise, file):
            raise CopyError(problem)


async def _send_pieces(pieces: chanlink.Receiver[bytes], body: chanlink.ByteStream) -> bool:
    """Whether the receiver has taken it to its end; if not, it says why."""
    async with pieces:
        try:
            async for piece in pieces:
                await body.send(piece)
            await body.send_eof()
        except chanlink.ChannelFailed:
            body.fail("read-failed")
            return False
        except chanlink.ChannelRefused:
            return False
    return True


def _some(items: Iterator[Item]) -> list[Item]:
    """The next items, up to one that takes its time."""
    some: list[Item] = []
    for item in items:
        some.append(item)
        if len(some) == TOGETHER or isinstance(item, LargeFile):
            break
    return some


def _read(file: LargeFile, digest: hashlib.blake2b) -> bytes:
    data = read_some(file.file, min(PIECE, file.size - file.file.tell()))
    digest.update(data)
    return data


def _ended_otherwise(file: LargeFile) -> str:
    """Why the end of what was read is not the end of the file, if so."""
    if changed(file.file, file.found):
        return CHANGED
    return WRONG_SIZE if file.file.tell() != file.size or read_some(file.file, 1) else ""
