"""Where a copy is written: the folders that are open, from the outermost to the one that entries go into now.

Nothing here trusts the other side: names are single names (`messages.check_name`), the outermost ones are those that
were asked for, and each folder is opened inside the one before without following a link. All of it blocks, and is
called in worker threads, one call at a time. What goes wrong with one entry is an `OSError` or a `CopyError`.
"""

import contextlib
import errno
import io
import os
import stat
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple

from ..messages import BadMessage
from .messages import DEPTH_MAX, MODE_BITS, CopyError, shown, why
from .part import Part, open_part_folder, secret_name
from .place import READ, Place, closing, open_inner
from .report import Remark

REFUSALS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What a file system says if it keeps no modes or times, or not these."""


class _Level(NamedTuple):
    folder: int
    name: bytes
    """How it is called while it is being written; nothing if it has its name already."""
    final: bytes
    mode: int
    mtime: int


class Target:
    """The place that a copy is written to.

    If ``path`` is a folder, the copies are put into it under ``names``; what has no name becomes that folder. If there
    is nothing yet, it is what the only copy will be called. A new folder is written beside its place and takes it when
    it is complete, as a file does.
    """

    def __init__(self, place: Place, path: bytes, names: list[bytes]) -> None:
        self._place = place
        self._path = path
        self._expected = Counter(names)
        self._rename: bytes | None = None
        self._top = -1
        self._levels: list[_Level] = []
        self._opened = ExitStack()
        self._refused: dict[str, tuple[str, int]] = {}
        """By what the file system does not keep: the first line about it, and how many more there would be."""

    def open(self) -> None:
        """Find the place. Raises `CopyError` if there is none."""
        try:
            self._top = self._opened.enter_context(self._place.folder(self._path))
        except (FileNotFoundError, NotADirectoryError) as exc:
            is_file = isinstance(exc, NotADirectoryError) and self._path.endswith(b"/")
            if is_file or self._expected.total() != 1:
                raise CopyError(self._no_folder(self._path, exc)) from None
            self._open_parent()
        except OSError as exc:
            raise CopyError(why(self._path, exc)) from exc

    def _open_parent(self) -> None:
        path = self._path.rstrip(b"/")
        try:
            self._top, self._rename = self._opened.enter_context(self._place.parent(path))
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise CopyError(self._no_folder(os.path.dirname(path), exc)) from None
        except OSError as exc:
            raise CopyError(why(os.path.dirname(path) or b".", exc)) from exc

    @staticmethod
    def _no_folder(path: bytes, error: OSError) -> str:
        is_file = isinstance(error, NotADirectoryError)
        return why(path, "is not a folder" if is_file else "there is no such folder")

    def close(self) -> None:
        """Leave everything as it is."""
        with self._opened:
            while self._levels:
                self._opened.callback(os.close, self._levels.pop().folder)

    @property
    def depth(self) -> int:
        return len(self._levels)

    @property
    def folder(self) -> int:
        """A descriptor of the folder that entries go into now."""
        return self._levels[-1].folder if self._levels else self._top

    def path(self, name: bytes) -> str:
        """What to call an entry of the folder that entries go into now, when talking about it."""
        return self._shown([*(level.final for level in self._levels), name])

    @property
    def here(self) -> str:
        """What to call that folder itself."""
        return self._shown([level.final for level in self._levels])

    def _shown(self, names: list[bytes]) -> str:
        if self._rename is not None:
            names = names[1:]
        base = self._path.rstrip(b"/")
        path = b"/".join(filter(None, [base, *names]))
        return shown(path or b"." if base or not self._path else b"/" + path)

    def final(self, name: bytes, is_folder: bool = False) -> bytes:
        """How the entry is called here; nothing if it is the place itself.

        Raises `BadMessage` for one that was not asked for.
        """
        if self._levels:
            return name
        if not self._expected[name]:
            raise BadMessage(f"{shown(name)} was not asked for")
        self._expected[name] -= 1
        if self._rename is not None and self._path.endswith(b"/") and not is_folder:
            # A path with a slash at its end means a folder, even if there is none yet.
            raise CopyError(f"{shown(self._path)}: there is no such folder")
        if self._rename is None and not name and not is_folder:
            raise CopyError(f"{shown(self._path)}: is a folder; say how the copy in it is to be called")
        return name if self._rename is None else self._rename

    def enter(self, name: bytes, mode: int, mtime: int) -> None:
        """Make a folder, or go on in the one that is there; entries go into it from now on."""
        if len(self._levels) >= DEPTH_MAX:
            raise CopyError(f"{self.path(name)}: folders nest deeper than {DEPTH_MAX}")
        part = b""
        with ExitStack() as stack:
            if not self._levels and name and not _exists(self.folder, name):
                part, folder = open_part_folder(self.folder, name)
            else:
                if name:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=self.folder)
                folder = open_inner(self.folder, name or b".")
            stack.callback(os.close, folder)
            with suppress(PermissionError):  # an earlier attempt may have given it the mode that it is to have
                if (now := stat.S_IMODE(os.fstat(folder).st_mode)) & 0o700 != 0o700:
                    os.fchmod(folder, now | 0o700)
            self._levels.append(_Level(folder, part, name, mode, mtime))
            stack.pop_all()

    def leave(self) -> None:
        """The folder has all its entries: give it its mode, its time, and its name."""
        path = self.here
        level = self._levels.pop()
        with closing(level.folder):
            if level.final:  # the place itself is not ours to change
                kept = stat.S_IMODE(os.fstat(level.folder).st_mode) & ~MODE_BITS  # whose is what is made in it
                self.dress(path, level.mode | kept, level.mtime, level.folder)
            if level.name:
                os.rename(level.name, level.final, src_dir_fd=self.folder, dst_dir_fd=self.folder)

    def link(self, name: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        self._no_special(name)
        part = secret_name(name)
        os.symlink(target, part, dir_fd=self.folder)
        try:
            os.replace(part, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except BaseException:
            os.unlink(part, dir_fd=self.folder)
            raise

    # --- files ---

    def part(self, name: bytes) -> Part:
        """The unfinished copy of a file, to be closed."""
        self._no_special(name)
        return Part(self.folder, name, self.path(name))

    def _no_special(self, name: bytes) -> None:
        """Raises `OSError` for a device, a pipe or a socket, which a file must not replace: it may be /dev/null."""
        with suppress(FileNotFoundError):
            kind = stat.S_IFMT(os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise OSError(errno.EEXIST, "is there, and neither a file nor a folder; it is not replaced")

    def write(self, name: bytes, data: bytes, digest: bytes, mode: int, mtime: int) -> None:
        """A small file."""
        with contextlib.closing(self.part(name)) as part:
            part.begin(0)
            part.write(data)
            self.finish(part, digest, mode, mtime)

    def finish(self, part: Part, digest: bytes, mode: int, mtime: int) -> None:
        """As `Part.finish`."""
        part.finish(digest, partial(self.dress, self.path(part.name), mode, mtime))

    def similar(self, name: bytes, size: int, mtime: int) -> io.FileIO | None:
        """What has this name, to read it, if it may be the same file: it has this size and time."""
        with ExitStack() as stack:
            try:
                about = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
                if not stat.S_ISREG(about.st_mode) or (about.st_size, about.st_mtime_ns) != (size, mtime):
                    return None
                file = io.FileIO(
                    name,
                    opener=lambda name, _: os.open(name, READ | os.O_NOFOLLOW, dir_fd=self.folder),
                )
            except OSError:
                return None
            stack.enter_context(file)
            about = os.fstat(file.fileno())
            if (about.st_size, about.st_mtime_ns) != (size, mtime):
                return None
            stack.pop_all()
            return file

    def keep(self, name: bytes, size: int, mode: int, mtime: int) -> None:
        """What has this name is the same file already: its mode is set. Raises `CopyError` if it is so no longer.

        Where others may write, it may have become one of ours that they can't read, by another name.
        """
        with closing(os.open(name, READ | os.O_NOFOLLOW, dir_fd=self.folder)) as file:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode) or (about.st_size, about.st_mtime_ns) != (size, mtime):
                raise CopyError(f"{self.path(name)}: somebody has put another file there")
            self.dress(self.path(name), mode, mtime, file)

    # --- modes and times ---

    def dress(self, path: str, mode: int, mtime: int, descriptor: int) -> None:
        """Give what was copied its mode and its time; a file system that does not keep them is spoken of later."""
        for what, give in (
            ("time", partial(os.utime, descriptor, ns=(mtime, mtime))),
            ("mode", partial(os.fchmod, descriptor, mode)),
        ):
            try:
                give()
            except OSError as exc:
                if exc.errno not in REFUSALS:
                    raise
                line, count = self._refused.get(what, (f"{path}: copied, but not its {what}: {exc.strerror}", -1))
                self._refused[what] = (line, count + 1)

    def remarks(self) -> list[Remark]:
        """What is to be told in the end."""
        return [
            Remark(line + (f" (and so with {count} more)" if count else ""), is_problem=False)
            for line, count in self._refused.values()
        ]


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


def _exists(folder: int, name: bytes) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False
