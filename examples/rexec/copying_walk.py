"""What a sender finds: files, folders and links, in the order in which they are sent.

The walk is a generator that blocks, for worker threads. Folders are opened inside one another, so that a link that
somebody puts there meanwhile is not followed. A file that changes while it is read is never sent as a whole one.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from .copying import DEPTH_MAX, INLINE, MODE_BITS, TIME_MAX, new_hash, shown, why
from .copying_parts import is_part
from .copying_places import READ, Place, open_inner
from .copying_report import Word

CHANGED = "changed while it was read"


class LargeFile(NamedTuple):
    """A file that is read while it is sent; it is open until the walk goes on, or is closed."""

    entry: dict[str, Any]
    path: bytes
    file: io.FileIO
    found: os.stat_result
    """What it was when it was opened."""

    @property
    def size(self) -> int:
        return self.found.st_size


Item = dict[str, Any] | LargeFile | Word


def walk(place: Place, path: bytes, name: bytes, recursive: bool) -> Iterator[Item]:
    """A file, or a folder and all that is in it: the entries, but for the bodies of large files."""
    try:
        opened = place.open(path)
    except OSError as exc:
        yield Word(why(path, exc))
        return
    if not stat.S_ISDIR(os.fstat(opened).st_mode):
        yield from _file(opened, name, path)
    elif recursive:
        yield from _folder(opened, name, path, 1)
    else:
        os.close(opened)
        yield Word(f"{shown(path)}: is a folder; copy it with -r")


def sizes(place: Place, path: bytes, recursive: bool) -> Iterator[int]:
    """The sizes of the files that `walk` will find, as far as one can see now."""
    try:
        opened = place.open(path)
    except OSError:
        return
    found = os.fstat(opened)
    if recursive and stat.S_ISDIR(found.st_mode):
        yield from _sizes_in(opened, 1)
    else:
        os.close(opened)
        yield found.st_size


def changed(file: io.FileIO, found: os.stat_result) -> bool:
    """Whether a file is another one than it was."""
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns)


def _folder(folder: int, name: bytes, path: bytes, depth: int) -> Iterator[Item]:
    try:
        try:
            found, names = os.fstat(folder), sorted(os.listdir(folder))
        except OSError as exc:
            yield Word(why(path, exc))
            return
        yield {"folder": name, **_mode_and_time(found)}
        for inner in map(os.fsencode, names):
            yield from _entry(folder, inner, path + b"/" + inner, depth)
        yield {"leave": True}
    finally:
        os.close(folder)


def _entry(folder: int, name: bytes, path: bytes, depth: int) -> Iterator[Item]:
    if is_part(name):  # it may be the one that we are being copied to
        yield Word(f"{shown(path)}: left out: it is an unfinished copy", is_problem=False)
        return
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            if depth == DEPTH_MAX:
                yield Word(f"{shown(path)}: folders nest deeper than {DEPTH_MAX}")
                return
            inner = open_inner(folder, name)
        elif stat.S_ISLNK(found.st_mode):
            yield {"link": name, "target": os.readlink(name, dir_fd=folder)}
            return
        elif stat.S_ISREG(found.st_mode):
            yield from _file(os.open(name, READ | os.O_NOFOLLOW, dir_fd=folder), name, path)
            return
        else:
            yield Word(f"{shown(path)}: left out: it is neither a file nor a folder", is_problem=False)
            return
    except OSError as exc:
        yield Word(why(path, exc))
        return
    yield from _folder(inner, name, path, depth + 1)


def _file(opened: int, name: bytes, path: bytes) -> Iterator[Item]:
    """What is sent of a file at once."""
    with io.FileIO(opened) as file:
        found = os.fstat(opened)
        entry = {"file": name, **_mode_and_time(found), "size": found.st_size}
        try:
            large = found.st_size > INLINE
            item = LargeFile(entry, path, file, found) if large else _small_file(entry, path, file, found)
        except OSError as exc:
            item = Word(why(path, exc))
        yield item


def _small_file(entry: dict[str, Any], path: bytes, file: io.FileIO, found: os.stat_result) -> Item:
    data = b""
    while len(data) <= INLINE and (piece := file.read(INLINE + 1 - len(data))):
        data += piece
    if len(data) != found.st_size or changed(file, found):
        return Word(why(path, CHANGED))
    return {**entry, "data": data, "digest": new_hash(data).digest()}


def _mode_and_time(found: os.stat_result) -> dict[str, int]:
    return {"mode": found.st_mode & MODE_BITS, "mtime": max(-TIME_MAX, min(found.st_mtime_ns, TIME_MAX))}


def _sizes_in(folder: int, depth: int) -> Iterator[int]:
    try:
        for name in map(os.fsencode, os.listdir(folder)):
            with suppress(OSError):  # the walk will report it
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield found.st_size
                elif stat.S_ISDIR(found.st_mode) and depth < DEPTH_MAX:
                    yield from _sizes_in(open_inner(folder, name), depth + 1)
    finally:
        os.close(folder)
