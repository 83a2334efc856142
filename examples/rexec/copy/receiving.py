"""The receiver of a copy: takes entries and writes them.

Small entries are taken as many at a time as have arrived, and written in one go in a worker thread. What goes wrong
with one entry is reported, and the next one is taken. The copy fails as a whole when no other entry could fare better
(no room is left), when the sender gives up or is lost, and when it says what no sender would.
"""

import errno
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import anyio

import chanlink

from ..attempts import Attempt
from ..messages import BadMessage, ends_in
from .messages import INLINE, CopyError, check_name, field, mode_and_time, new_hash, shown, size_field, why
from .part import Part
from .place import Place
from .report import Remark, Report
from .target import Target, stays_inside
from .threads import Threads

AHEAD = 32
"""Pieces of a large file, about 64 KiB each, that may have arrived and not been written."""
TOGETHER = 256
"""Entries that are written in one go."""
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}


class Hopeless(CopyError):
    """No other entry could fare better."""


async def receive_files(
    entries: chanlink.Receiver[Any],
    answers: chanlink.Sender[Any],
    report: Report,
    *,
    threads: Threads,
    place: Place,
    path: bytes,
    names: list[bytes],
    recursive: bool,
) -> None:
    """Take a copy until its entries end, and report that it is done.

    Raises `CopyError` when the copy has failed, `BadMessage` when the sender says what can't be, and
    `chanlink.ChannelBroken` when the sender has given up or is lost. What was complete stays.
    """
    async with entries, answers:
        with closing(Target(place, path, names)) as target:
            await threads.run(target.open)
            await _Receiver(entries, answers, report, target, threads, recursive).run()
    await report.say(target.remarks())
    await report.done()


class _File(NamedTuple):
    """What an entry says about a file."""

    name: bytes
    mode: int
    mtime: int
    size: int


class _Receiver:
    """Takes entries, until there are no more.

    Whole: each kind of entry is a few methods, which share what was taken and where in the copy we are.
    """

    def __init__(
        self,
        entries: chanlink.Receiver[Any],
        answers: chanlink.Sender[Any],
        report: Report,
        target: Target,
        threads: Threads,
        recursive: bool,
    ) -> None:
        self._entries = entries
        self._answers = answers
        self._report = report
        self._target = target
        self._threads = threads
        self._recursive = recursive
        self._waiting: deque[dict[str, Any]] = deque()
        self._taken: list[dict[str, Any]] = []
        """Entries of the file being received: a byte stream in them that is left open would keep the sender waiting."""
        self._outside = 0
        """How deep we are in a folder that could not be made: what is in it is passed over."""

    async def run(self) -> None:
        try:
            while await self._fill():
                if small := self._take_small():
                    await self._report.say(await self._threads.run(self._write_small, small))
                    if isinstance(name := small[-1].get("file"), bytes):
                        self._report.tell(name)
                else:
                    await self._receive_large(await self._next())
        finally:
            for end in ends_in(list(self._waiting)):
                end.close()
        if self._target.depth or self._outside:
            raise BadMessage("the entries end inside a folder")

    async def _fill(self) -> bool:
        """Wait until there is an entry; False at their end."""
        if not self._waiting:
            try:
                batch = await self._entries.receive_many(TOGETHER)
            except chanlink.EndOfChannel:
                return False
            if not all(isinstance(entry, dict) for entry in batch):
                raise BadMessage("an entry is a map")
            self._waiting.extend(batch)
        return True

    async def _next(self) -> dict[str, Any]:
        if not await self._fill():
            raise BadMessage("the entries end inside a file")
        self._taken.append(self._waiting.popleft())
        return self._taken[-1]

    # --- entries that are complete ---

    def _take_small(self) -> list[dict[str, Any]]:
        small = []
        while self._waiting and ("file" not in self._waiting[0] or "data" in self._waiting[0]):
            small.append(self._waiting.popleft())
        return small

    def _write_small(self, entries: list[dict[str, Any]]) -> list[Remark]:
        """In a worker thread. Returns what is to be told."""
        remarks = []
        for entry in entries:
            match entry:
                case {"folder": name}:
                    remarks += self._enter(self._name(name), entry)
                case {"leave": True}:
                    remarks += self._leave()
                case {"link": name}:
                    remarks += self._link(self._name(name), field(entry, "target", bytes))
                case {"file": _}:
                    remarks += self._write(self._file(entry), entry)
                case _:
                    raise BadMessage("an entry is of no known kind")
        return remarks

    def _name(self, name: object) -> bytes:
        """Of an entry; it is empty if whoever asked could not know it: the place gives the copy its name then."""
        return b"" if name == b"" and not self._target.depth else check_name(name)

    def _file(self, entry: dict[str, Any]) -> _File:
        return _File(self._name(entry["file"]), *mode_and_time(entry), size_field(entry))

    def _enter(self, name: bytes, entry: dict[str, Any]) -> list[Remark]:
        self._only_recursive()
        mode, mtime = mode_and_time(entry)
        remarks = self._attempt(name, lambda final: self._target.enter(final, mode, mtime), is_folder=True)
        if remarks or self._outside:
            self._outside += 1
        return remarks

    def _leave(self) -> list[Remark]:
        if self._outside:
            self._outside -= 1
            return []
        if not self._target.depth:
            raise BadMessage("more folders end than have begun")
        path = self._target.here
        try:
            self._target.leave()
        except OSError as exc:
            return [self._problem(path, exc)]
        return []

    def _link(self, name: bytes, target: bytes) -> list[Remark]:
        self._only_recursive()
        if self._outside:
            return []
        path = self._target.path(name)
        if not self._target.depth:
            raise BadMessage(f"{path}: a link was sent, where its content was asked for")
        if not stays_inside(target, self._target.depth):
            return [Remark(f"{path}: left out: a symbolic link that leads out of the copy", is_problem=False)]
        return self._attempt(name, lambda final: self._target.link(final, target))

    def _write(self, file: _File, entry: dict[str, Any]) -> list[Remark]:
        data, digest = field(entry, "data", bytes), field(entry, "digest", bytes)
        if not len(data) == file.size <= INLINE:
            raise BadMessage(f"{shown(file.name)} is not of the size that it is said to have")

        def write(final: bytes) -> None:
            self._target.write(final, data, digest, file.mode, file.mtime)
            self._report.add(file.size)
            self._report.add_file()

        return self._attempt(file.name, write)

    def _attempt(self, name: bytes, action: Callable[[bytes], None], is_folder: bool = False) -> list[Remark]:
        """Do something about an entry, unless it is in a folder that is passed over."""
        if not self._outside:
            try:
                action(self._target.final(name, is_folder))
            except (OSError, CopyError) as exc:
                return [self._problem(self._target.path(name), exc)]
        return []

    def _problem(self, path: str, error: OSError | CopyError) -> Remark:
        """What to tell about it. Raises `CopyError` if going on is of no use."""
        if isinstance(error, Hopeless):
            raise error
        if isinstance(error, CopyError):
            return Remark(str(error))
        text = why(path, error)
        if error.errno in HOPELESS:
            raise Hopeless(text) from error
        return Remark(text)

    def _only_recursive(self) -> None:
        if not self._recursive:
            raise BadMessage("a folder or a link was sent, where one file was asked for")

    # --- files with more to come ---

    async def _receive_large(self, entry: dict[str, Any]) -> None:
        opened: list[Part] = []
        path = ""
        try:
            file = self._file(entry)
            path = self._target.path(file.name)
            remarks = await self._threads.run(
                self._attempt, file.name, lambda name: opened.append(self._target.part(name))
            )
            if not opened:
                await self._report.say(remarks)
                await self._pass_over(entry)
            else:
                await self._receive_into(opened[0], file, entry)
        except (OSError, CopyError) as exc:
            await self._report.say([self._problem(path, exc)])
        finally:
            for part in opened:
                part.close()
            for end in ends_in(self._taken):
                end.close()
            self._taken.clear()

    async def _pass_over(self, entry: dict[str, Any]) -> None:
        if "body" not in entry:
            await self._answers.send({"skip": True})
            return
        field(entry, "body", chanlink.ByteStream).close()
        await self._next()  # its hash

    async def _receive_into(self, part: Part, file: _File, entry: dict[str, Any]) -> None:
        start, same = 0, False
        if "body" not in entry:
            entry, start, same = await self._agree(part, file)
            self._report.add_spared(start)
        if not same:
            await self._threads.run(part.begin, start)
        error = None
        async with field(entry, "body", chanlink.ByteStream) as body:
            try:
                whole = await self._write_body(part, body, file.size - start)
            except OSError as exc:
                error = exc
        digest = (await self._next()).get("digest")
        if error is not None:
            raise error
        if not whole or not isinstance(digest, bytes):
            return  # the sender says why
        if same:
            await self._threads.run(self._target.keep, part.name, file.size, file.mode, file.mtime)
        else:
            await self._threads.run(self._target.finish, part, digest, file.mode, file.mtime)
        self._report.add_file()

    async def _agree(self, part: Part, file: _File) -> tuple[dict[str, Any], int, bool]:
        """Tell the sender what is here; returns how it goes on, where, and whether nothing is to be done."""
        try:
            have, digest, same = await self._find(part, file)
        except OSError:
            await self._answers.send({"skip": True})
            raise
        await self._answers.send({"have": have, "digest": digest})
        entry = await self._next()
        start = size_field(entry, "from")
        if start not in (0, have):
            raise BadMessage("the sender goes on where we have not ended")
        return entry, start, same and start == have

    async def _find(self, part: Part, file: _File) -> tuple[int, bytes, bool]:
        """How many bytes are here, their hash, and whether they are the file, and not the beginning of its copy."""
        tell = partial(self._report.tell, part.name)
        similar = await self._threads.run(self._target.similar, part.name, file.size, file.mtime)
        if similar is not None:
            with similar:
                if await self._threads.hash(similar, digest := new_hash(), file.size, tell) == file.size:
                    return file.size, digest.digest(), True
        if part.size <= file.size:  # else it is the beginning of another file
            await self._threads.hash(part.file, part.hash, file.size, tell)
        return part.file.tell(), part.hash.digest(), False

    async def _write_body(self, part: Part, body: chanlink.ByteStream, size: int) -> bool:
        """Whether all of it has come; False when the sender has given it up. Raises `OSError`."""
        arrived, waiting = chanlink.pipe(AHEAD)
        receiving = Attempt(_receive_body, body, size, arrived)
        writing = Attempt(self._write_pieces, part, waiting)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receiving)
            tasks.start_soon(writing)
        writing.result()
        return receiving.result()

    async def _write_pieces(self, part: Part, pieces: chanlink.Receiver[bytes]) -> None:
        async with pieces:
            while True:
                try:
                    some = await pieces.receive_many(AHEAD)
                except chanlink.ChannelError:  # the end; the other task knows why
                    return
                data = b"".join(some)  # each call that releases the interpreter may wait long to get it back
                await self._threads.run(part.write, data)
                self._report.add(len(data))
                self._report.tell(part.name)


async def _receive_body(body: chanlink.ByteStream, size: int, pieces: chanlink.Sender[bytes]) -> bool:
    """Receive on while others write. Whether all has come."""
    left = size
    async with pieces:
        while True:
            try:
                data = await body.receive()
            except chanlink.EndOfChannel:
                if left:
                    raise BadMessage("a file ends early") from None
                return True
            except chanlink.ChannelFailed:
                return False
            left -= len(data)
            if left < 0:
                raise BadMessage("more of a file was sent than it is said to have")
            try:
                await pieces.send(data)
            except chanlink.ChannelRefused:
                return False
