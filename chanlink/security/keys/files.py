"""Files of keys, and files that say whom to trust: how they are found, read and written.

Synchronous: such files are small and local. What can't be read is a `KeyFormatError` that names the file.

A trust file or a file of known peers is read and changed by others at the same time. It is replaced as a whole, so
that nobody reads half of it and a full disk leaves the old one, and whoever changes it holds a lock of the old one
meanwhile. So a reader needs no lock. Such a file is read again and again: so it is a regular file (a pipe would be
empty the second time, and keep the reader waiting), or the null device, which knows nobody. And it is not one that
everybody may write (docs/decisions/0023-files-that-say-whom-to-trust.md).

A key is never overwritten: its file appears complete, and only where nothing is.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from chanlink.arguments import expect
from chanlink.errors import KeyFormatError
from chanlink.printing import printable_logger

logger = printable_logger(__name__)

_CANNOT = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK)
"""What file systems without hard links, modes, owners or locks say: FAT, SMB, some by FUSE or NFS."""
_NEVER_WAITS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""To open a pipe waits for whoever writes into it, without this."""
_LOOK_AGAIN = 0.02
"""Seconds between two looks at a lock that is not waited for without end."""


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` expanded. Raises `KeyFormatError` when there is no home folder."""
    expect("path", path, str, os.PathLike)
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise KeyFormatError(f"{path}: there is no such home folder; set HOME, or write the whole path") from exc


def file_problem(file: Path, exc: OSError | ValueError) -> str:
    """One line that names the file and what is wrong with it."""
    if not isinstance(exc, OSError):
        return f"{str(file)!r}: {exc}"  # a zero byte in the name
    return f"{exc.filename2 or exc.filename or file}: {exc.strerror}"


def make_private_directory(directory: Path) -> None:
    """As ``mkdir -p``, but the parents too are for us alone."""
    if not directory.is_dir():
        make_private_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


# --- files of keys --------------------------------------------------------------------------------


def read_limited(path: str | os.PathLike[str], limit: int, *, secret: bool = False) -> bytes:
    """Read a file of at most ``limit`` bytes; with ``secret``, one that only its owner can read.

    Raises `KeyFormatError`.
    """
    file = expand(path)
    try:
        with open(file, "rb") as stream:
            status = os.fstat(stream.fileno())  # of the open file: the name may point elsewhere by now
            data = stream.read(limit + 1)
    except (OSError, ValueError) as exc:
        raise KeyFormatError(file_problem(file, exc)) from exc
    if secret and data.startswith(b"ssh-"):
        private = f", which is {file.with_suffix('')}" if file.suffix == ".pub" else ""
        raise KeyFormatError(f"{file}: that is a public key; the private one is needed here{private}")
    if secret and _is_exposed(status):
        raise KeyFormatError(f"{file}: others can read this private key; run: chmod 600 {file}")
    if len(data) > limit:
        raise KeyFormatError(f"{file}: larger than {limit} bytes")
    return data


def _is_exposed(status: os.stat_result) -> bool:
    """As ssh judges: only files of our own, because others (secrets mounted into a container) are not ours to chmod."""
    return os.name == "posix" and status.st_uid == os.getuid() and bool(stat.S_IMODE(status.st_mode) & 0o077)


def create(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """Make a file, complete and only where nothing is. Raises `OSError`."""
    file = expand(path)
    make_private_directory(file.parent)
    with written(file.parent, data, mode) as new:
        place(new, file)


def write_pair(file: Path, private: bytes, public: bytes) -> None:
    """Make ``file`` and ``file.pub``, complete and only where nothing is.

    The name of the private file decides between processes that race, so it comes first. A public file in the way is
    found before: no other process should load a key that is taken back.
    """
    public_file = file.with_name(f"{file.name}.pub")
    if os.path.lexists(public_file):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), public_file)
    with (
        written(file.parent, private, 0o600) as new_private,
        written(file.parent, public, 0o644) as new_public,  # not by the umask: a server's operator reads it
    ):
        place(new_private, file)
        try:
            place(new_public, public_file)
        except OSError:
            file.unlink()
            raise
    mode = stat.S_IMODE(file.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        logger.warning("%s: its file system keeps no modes (this one is %o): others may be able to read it", file, mode)


def wait_until_written(file: Path) -> None:
    """For a second at most: without hard links, a file that another process makes has its name before its contents."""
    for _ in range(100):
        if not file.exists() or file.stat().st_size:
            return
        sleep(0.01)


# --- files that say whom to trust -----------------------------------------------------------------


def read_kept(path: str | os.PathLike[str], limit: int) -> bytes:
    """Read at most ``limit`` bytes of such a file; never waits. Raises `KeyFormatError`."""
    file = expand(path)
    try:
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | _NEVER_WAITS)) as stream:
            check_kept(os.fstat(stream.fileno()), file)
            data = stream.read(limit + 1)
    except (OSError, ValueError) as exc:
        raise KeyFormatError(file_problem(file, exc)) from exc
    if len(data) > limit:
        raise KeyFormatError(f"{file}: larger than {limit} bytes")
    return data


def check_kept(status: os.stat_result, file: Path) -> None:
    """Raise `OSError` if this can't be a file that says whom to trust."""
    if stat.S_ISREG(status.st_mode):
        if os.name == "posix" and status.st_mode & stat.S_IWOTH:
            raise OSError(errno.EPERM, f"everybody can write it; run: chmod o-w {file}", str(file))
    elif not is_null_device(status):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))


def is_null_device(status: os.stat_result) -> bool:
    """Whether this is ``/dev/null``: nothing is in it, and nothing is kept."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev


class Edit:
    """The file as it is while nobody else changes it."""

    def __init__(self, file: Path, stream: IO[bytes]) -> None:
        self._file = file
        self._stream = stream

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes of what it holds. Raises `OSError`."""
        self._stream.seek(0)
        return self._stream.read(limit)

    def replace(self, data: bytes) -> None:
        """Let it hold this instead, with the mode and the owner that it has. Raises `OSError`."""
        status = os.fstat(self._stream.fileno())
        if is_null_device(status):
            return
        with written(self._file.parent, data, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)) as new:
            os.replace(new, self._file)


@contextmanager
def edit(path: str | os.PathLike[str], patience: float | None = None) -> Iterator[Edit]:
    """Lock a file, and make it with mode 0600 if it is missing; whoever does the same waits. Raises `OSError`.

    With ``patience``, it waits for so many seconds at most (`BlockingIOError`).
    """
    import fcntl  # not on Windows, where everything else here works

    file = Path(os.path.realpath(path))  # a link stays one
    make_private_directory(file.parent)
    while True:
        with open(os.open(file, os.O_RDWR | os.O_CREAT | _NEVER_WAITS, 0o600), "rb") as stream:
            check_kept(os.fstat(stream.fileno()), file)
            with _allowing_refusal():
                if patience is None:
                    fcntl.flock(stream, fcntl.LOCK_EX)
                else:
                    _lock(stream, until=monotonic() + patience)
            if _is_at(file, stream):  # else it was replaced while we waited
                yield Edit(file, stream)
                return


def _lock(stream: IO[bytes], until: float) -> None:
    import fcntl

    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if monotonic() >= until:
                raise BlockingIOError(exc.errno, "another process holds it") from exc
        else:
            return
        sleep(_LOOK_AGAIN)


def _is_at(file: Path, stream: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(file))
    except FileNotFoundError:
        return False


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def written(directory: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> Iterator[Path]:
    """A complete file with a random name, which is gone after the block unless it got another one. Raises `OSError`.

    It has this mode and owner where the file system keeps them, and nobody else can read it before.
    """
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".chanlink-")
    try:
        with open(descriptor, "wb") as stream:
            if owner is not None:
                with _allowing_refusal():
                    os.fchown(descriptor, *owner)
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
                with _allowing_refusal():
                    os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)  # what was announced to others must outlive a power cut
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def place(new: Path, file: Path) -> None:
    """Give a complete file its name, if nothing has that yet. Raises `OSError`, and `FileExistsError` if so."""
    try:
        os.link(new, file)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
        # Without hard links, whoever makes the name has it. For a moment nothing is in it: see `wait_until_written`.
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            os.replace(new, file)
        except BaseException:
            file.unlink()
            raise


@contextmanager
def _allowing_refusal() -> Iterator[None]:
    """Do without what this file system can't do, or what may not be done to somebody else's file."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
