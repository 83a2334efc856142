"""Where the paths of a copy begin, and how they are walked: folder by folder, each opened inside the one before."""

import errno
import os
import stat

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without waiting: what is taken for a file may have become a pipe."""


class Place:
    """Any path that this process may use, beginning where it runs; or, with a root, only what is beneath it.

    Beneath a root no symbolic link is followed and ``..`` is refused, whoever made the links and when. A path that
    begins with ``/`` begins at the root. Without one, links are followed and ``~`` is the home folder, as in a shell.
    The methods raise `OSError`.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self._root = None if root is None else os.path.realpath(os.path.expanduser(root))

    def open(self, path: bytes) -> int:
        """A descriptor of an existing file or folder, to read it; `FileNotFoundError`, ... as `os.open`."""
        if self._root is None:
            path = os.path.expanduser(path) or b"."
            _no_special(os.stat(path))
            return os.open(path, READ)
        folder, name = self.open_parent(path)
        try:
            _no_special(os.stat(name, dir_fd=folder, follow_symlinks=False))
            return os.open(name, READ | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)

    def open_folder(self, path: bytes) -> int:
        """A descriptor of an existing folder."""
        if self._root is None:
            return os.open(os.path.expanduser(path) or b".", FOLDER)
        folder = os.open(self._root, FOLDER)
        for name in _inner(path):
            try:
                inner = open_inner(folder, name)
            finally:
                os.close(folder)
            folder = inner
        return folder

    def open_parent(self, path: bytes) -> tuple[int, bytes]:
        """A descriptor of the folder that an entry is in or may be put into, and its name there."""
        if self._root is None:
            parent, name = os.path.split(os.path.expanduser(path).rstrip(b"/") or path)
            return self.open_folder(parent), name or b"."
        *parents, name = _inner(path) or [b"."]
        return self.open_folder(b"/".join(parents)), name


def open_inner(folder: int, name: bytes) -> int:
    """A descriptor of a folder in a folder; a symbolic link is refused."""
    try:
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "is a symbolic link, which is not followed here", name) from None
        raise


def _inner(path: bytes) -> list[bytes]:
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise PermissionError(errno.EACCES, "leads out of the folder", path)
    return names


def _no_special(found: os.stat_result) -> None:
    """Refuse what is only looked at, lest opening it does something."""
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "is a symbolic link, which is not followed here")
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "is neither a file nor a folder")
