"""Where the paths of a copy begin, and how they are walked: folder by folder, each opened inside the one before.

A descriptor belongs to the block that it is open for.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..room import leave_room
from ..settings_file import expanded

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""A folder that entries are looked up in; whether they may be listed is another question."""
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without waiting: what is taken for a file may have become a pipe."""

SHARE = 0.75
"""Of the descriptors that we may have: beyond it copies open nothing. A few copies of deep folders that are not taken
would use them up, and nobody else could connect."""

LINK = "is a symbolic link, which is not followed here"


class Place:
    """Any path that this process may use, beginning where it runs; or, with a root, only what is beneath it.

    Beneath a root no symbolic link is followed, whoever made it and when, and ``..`` is refused. A path that
    begins with ``/`` begins at the root. Without one, links are followed and ``~`` is the home folder, as in a shell.
    The methods raise `OSError`; the descriptors are open as long as the block.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self._root = None if root is None else os.path.realpath(expanded(os.fspath(root)))

    @contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        """A descriptor of an existing file or folder, to read it; `FileNotFoundError`, ... as `os.open`."""
        if self._root is None:
            path = _expanded(path) or b"."
            _no_special(os.stat(path))
            with closing(os.open(path, READ)) as descriptor:
                _no_special(os.fstat(descriptor))
                yield descriptor
        else:
            with self.parent(path) as (folder, name), opened_in(folder, name) as descriptor:
                yield descriptor

    @contextmanager
    def folder(self, path: bytes) -> Iterator[int]:
        """A descriptor of an existing folder, to look up entries in it, and for nothing else."""
        with closing(self._open_folder(path)) as folder:
            yield folder

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """A descriptor of the folder that an entry is in or may be put into, and its name there."""
        if self._root is None:
            parent, name = os.path.split(_expanded(path).rstrip(b"/") or path)
        else:
            *parents, name = _inner(path) or [b"."]
            parent = b"/".join(parents)
        with self.folder(parent) as folder:
            yield folder, name or b"."

    def _open_folder(self, path: bytes) -> int:
        if self._root is None:
            return os.open(_expanded(path) or b".", THROUGH)
        names = _inner(path)
        inner = os.open(self._root, THROUGH)
        for name in names:
            with closing(inner) as folder:
                inner = open_inner(folder, name, THROUGH)
        return inner


def _expanded(path: bytes) -> bytes:
    """``~`` is the home folder; where there is none, it must not become a folder of that name."""
    found = os.path.expanduser(path)
    if found == b"~" or found.startswith(b"~/"):  # others, such as ~$letter.docx, are names
        raise OSError(errno.EINVAL, "there is no such home folder; set HOME, or write the whole path", path)
    return found


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """The descriptor, which is ours, for the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_in(folder: int, name: bytes) -> Iterator[int]:
    """A descriptor of an existing file or folder in a folder, to read it; a symbolic link is refused."""
    _no_special(os.stat(name, dir_fd=folder, follow_symlinks=False))
    with closing(_leaving_room(os.open(name, READ | os.O_NOFOLLOW, dir_fd=folder))) as descriptor:
        _no_special(os.fstat(descriptor))  # it may be another one than a moment ago
        yield descriptor


def open_inner(folder: int, name: bytes, flags: int = FOLDER) -> int:
    """A descriptor of a folder in a folder; a symbolic link is refused."""
    try:
        return _leaving_room(os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder))
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, LINK, name) from None
        raise


def _leaving_room(descriptor: int) -> int:
    """A new descriptor; it is closed again if others could get none."""
    try:
        leave_room(descriptor, SHARE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _inner(path: bytes) -> list[bytes]:
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise PermissionError(errno.EACCES, "leads out of the folder", path)
    return names


def _no_special(found: os.stat_result) -> None:
    """Refuse what is only looked at, lest opening it does something."""
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, LINK)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "is neither a file nor a folder")
