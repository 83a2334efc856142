"""What a sender finds: files, folders and links, in the order in which they are sent.

The walk is a generator that blocks, for worker threads. Folders are opened inside one another, so that a link that
somebody puts there meanwhile is not followed. A file that changes while it is read is never sent as a whole one.
"""

import errno
import io
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from .messages import DEPTH_MAX, INLINE, MODE_BITS, TIME_MAX, new_hash, shown, why
from .part import is_part
from .place import Place, closing, open_inner, opened_in
from .report import Remark

CHANGED = "changed while it was read"
WRONG_SIZE = "has another size than the system says, which makes it while it is read; copy what cat makes of it"


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


Item = dict[str, Any] | LargeFile | Remark


def walk(place: Place, path: bytes, name: bytes, recursive: bool) -> Generator[Item, None, None]:
    """A file, or a folder and all that is in it: the entries, but for the bodies of large files."""
    path = path or b"."
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(place.opened(path))
            is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        except OSError as exc:
            yield Remark(why(path, exc))
            return
        if is_folder and not recursive:
            yield Remark(f"{shown(path)}: is a folder; copy it with -r")
        else:
            yield from _opened(opened, name, path, 1)


def sizes(place: Place, path: bytes, recursive: bool) -> Generator[int, None, None]:
    """The sizes of the files that `walk` will find, as far as one can see now."""
    with suppress(OSError), place.opened(path) as opened:  # the walk will report it
        found = os.fstat(opened)
        if not stat.S_ISDIR(found.st_mode):
            yield found.st_size
        elif recursive:
            yield from _sizes_in(opened, 1)


def changed(file: io.FileIO, found: os.stat_result) -> bool:
    """Whether a file is another one than it was."""
    now = os.fstat(file.fileno())
    return (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns)


def read_some(file: io.FileIO, size: int) -> bytes:
    """At most this many bytes, none at the end. Raises `OSError`, also if the content would have to be waited for."""
    data = file.read(size)
    if data is None:
        raise OSError(errno.EAGAIN, "one would have to wait for its content")
    return data


def _opened(descriptor: int, name: bytes, path: bytes, depth: int) -> Iterator[Item]:
    """What is sent of a file or folder that is open."""
    try:
        found = os.fstat(descriptor)
        names = sorted(os.listdir(descriptor)) if stat.S_ISDIR(found.st_mode) else None
    except OSError as exc:
        yield Remark(why(path, exc))
        return
    if names is None:
        yield _file(io.FileIO(descriptor, closefd=False), name, path, found)
        return
    yield {"folder": name, **_mode_and_time(found)}
    for inner in map(os.fsencode, names):
        yield from _entry(descriptor, inner, path.rstrip(b"/") + b"/" + inner, depth)
    yield {"leave": True}


def _entry(folder: int, name: bytes, path: bytes, depth: int) -> Iterator[Item]:
    item: Item | None = None
    with ExitStack() as stack:
        try:
            kind = stat.S_IFMT(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
            if (refusal := _refusal(name, kind, depth)) is not None:
                item = refusal._replace(text=f"{shown(path)}: {refusal.text}")
            elif kind == stat.S_IFLNK:
                item = {"link": name, "target": os.readlink(name, dir_fd=folder)}
            else:
                opened = stack.enter_context(opened_in(folder, name))
        except OSError as exc:
            item = Remark(why(path, exc))
        if item is not None:
            yield item
        else:
            yield from _opened(opened, name, path, depth + 1)


def _refusal(name: bytes, kind: int, depth: int) -> Remark | None:
    """Why an entry is not even opened."""
    if is_part(name):  # it may be the one that we are being copied to
        return Remark("left out: it is an unfinished copy", is_problem=False)
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        return Remark("left out: it is neither a file nor a folder", is_problem=False)
    if kind == stat.S_IFDIR and depth == DEPTH_MAX:
        return Remark(f"folders nest deeper than {DEPTH_MAX}")
    return None


def _file(file: io.FileIO, name: bytes, path: bytes, found: os.stat_result) -> Item:
    entry = {"file": name, **_mode_and_time(found), "size": found.st_size}
    if found.st_size > INLINE:
        return LargeFile(entry, path, file, found)
    data = b""
    try:
        while len(data) <= INLINE and (piece := read_some(file, INLINE + 1 - len(data))):
            data += piece
        if changed(file, found):
            return Remark(why(path, CHANGED))
    except OSError as exc:
        return Remark(why(path, exc))
    if len(data) > INLINE:
        return Remark(why(path, WRONG_SIZE))
    # What the system makes while it is read, in /proc or /sys, has a size of 0 or 4096, whatever is in it.
    return {**entry, "size": len(data), "data": data, "digest": new_hash(data).digest()}


def _mode_and_time(found: os.stat_result) -> dict[str, int]:
    return {"mode": found.st_mode & MODE_BITS, "mtime": max(-TIME_MAX, min(found.st_mtime_ns, TIME_MAX))}


def _sizes_in(folder: int, depth: int) -> Iterator[int]:
    for name in map(os.fsencode, os.listdir(folder)):
        with suppress(OSError):  # the walk will report it
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield found.st_size
            elif stat.S_ISDIR(found.st_mode) and depth < DEPTH_MAX:
                with closing(open_inner(folder, name)) as inner:
                    yield from _sizes_in(inner, depth + 1)
