"""Where a copy is written: the folders that are open, from the outermost to the one that entries go into now.

Nothing here trusts the other side: names are single names (`copying.check_name`), the outermost ones are those that
were asked for, and each folder is opened inside the one before without following a link. All of it blocks, and is
called in worker threads, one call at a time. What goes wrong with one entry is an `OSError` or a `CopyError`.
"""

import errno
import os
from contextlib import suppress
from typing import NamedTuple

from .copying import DEPTH_MAX, MODE_BITS, CopyError, new_hash, shown
from .copying_parts import Part, hash_file, part_name
from .copying_places import READ, Place, open_inner
from .messages import BadMessage


class _Level(NamedTuple):
    folder: int
    name: bytes
    """How it is called while it is being written."""
    final: bytes
    mode: int
    mtime: int


class Target:
    """The place that a copy is written to.

    If ``path`` is a folder, the copies are put into it under ``names``; else it is what the only copy will be called. A
    new folder is written beside its place and takes it when it is complete, as a file does.
    """

    def __init__(self, place: Place, path: bytes, names: list[bytes]) -> None:
        self._expected = dict.fromkeys(names)
        self._rename: bytes | None = None
        self._is_folder = path.endswith(b"/")
        """Whoever writes it so means a folder, also if there is none yet."""
        self._levels: list[_Level] = []
        try:
            self._top = place.open_folder(path)
        except (FileNotFoundError, NotADirectoryError):
            if len(names) != 1:
                raise CopyError(f"{shown(path)}: there is no such folder to put all that into") from None
            self._top, self._rename = _parent(place, path)
        else:
            if b"" in self._expected:
                self.close()
                raise CopyError(f"{shown(path)}: is a folder; say how the copy in it is to be called")

    def close(self) -> None:
        """Leave everything as it is."""
        while self._levels:
            os.close(self._levels.pop().folder)
        os.close(self._top)

    @property
    def depth(self) -> int:
        return len(self._levels)

    @property
    def folder(self) -> int:
        """A descriptor of the folder that entries go into now."""
        return self._levels[-1].folder if self._levels else self._top

    def path(self, name: bytes) -> str:
        """What to call an entry when talking about it."""
        return shown(b"/".join([*(level.final for level in self._levels), name]))

    def final(self, name: bytes, is_folder: bool = False) -> bytes:
        """How the entry is called here.  Raises `BadMessage` for one that was not asked for."""
        if self._levels:
            return name
        if name not in self._expected:
            raise BadMessage(f"{shown(name)} was not asked for")
        del self._expected[name]
        if self._rename and self._is_folder and not is_folder:
            raise CopyError(f"{shown(self._rename)}: there is no such folder")
        return self._rename or name

    def enter(self, name: bytes, mode: int, mtime: int) -> None:
        """Make a folder, or go on in the one that is there; entries go into it from now on."""
        if len(self._levels) >= DEPTH_MAX:
            raise CopyError(f"{self.path(name)}: folders nest deeper than {DEPTH_MAX}")
        here = name
        if not self._levels and not _exists(self.folder, name):
            here = part_name(name)
        with suppress(FileExistsError):
            os.mkdir(here, 0o700, dir_fd=self.folder)
        folder = open_inner(self.folder, here)
        with suppress(PermissionError):  # an earlier attempt may have ended here, and given it the mode that it has
            os.fchmod(folder, os.fstat(folder).st_mode & MODE_BITS | 0o700)
        self._levels.append(_Level(folder, here, name, mode, mtime))

    def leave(self) -> None:
        """The folder has all its entries: give it its mode, its time, and its name."""
        level = self._levels.pop()
        try:
            os.utime(level.folder, ns=(level.mtime, level.mtime))
            os.fchmod(level.folder, level.mode & MODE_BITS)
            if level.name != level.final:
                os.rename(level.name, level.final, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        finally:
            os.close(level.folder)

    def link(self, name: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        part = part_name(name)
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=self.folder)
        os.symlink(target, part, dir_fd=self.folder)
        os.replace(part, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)

    def write(self, name: bytes, data: bytes, digest: bytes, mode: int, mtime: int) -> None:
        """A small file."""
        part = Part(self.folder, name)
        try:
            part.begin(0)
            part.write(data)
            part.finish(digest, mode, mtime)
        finally:
            part.close()

    def same(self, name: bytes, size: int, mtime: int) -> bytes | None:
        """The hash of what has this name, if it may be the same file: it has this size and time."""
        try:
            with open(os.open(name, READ | os.O_NOFOLLOW, dir_fd=self.folder), "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                if (found.st_size, found.st_mtime_ns) != (size, mtime):
                    return None
                hash_file(file, digest := new_hash())
                return digest.digest()
        except OSError:
            return None

    def keep(self, name: bytes, mode: int) -> None:
        """What has this name is the same file already."""
        file = os.open(name, READ | os.O_NOFOLLOW, dir_fd=self.folder)
        try:
            os.fchmod(file, mode & MODE_BITS)
        finally:
            os.close(file)


def stays_inside(target: bytes, depth: int) -> bool:
    """Whether a link in the folder at this depth leads into the copy, whatever other links the copy has.

    ``..`` may stand in the beginning only: the folder that the link is in is a real one, but what follows a name may
    have come through another link.
    """
    if target.startswith(b"/") or not target or b"\0" in target:
        return False
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    up = next((n for n, name in enumerate(names) if name != b".."), len(names))
    return up < depth and b".." not in names[up:]


def _parent(place: Place, path: bytes) -> tuple[int, bytes]:
    try:
        return place.open_parent(path)
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(errno.ENOENT, "there is no such folder", os.path.dirname(path.rstrip(b"/"))) from None


def _exists(folder: int, name: bytes) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False
