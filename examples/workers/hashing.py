"""What a job is here, and what becomes of it."""

import hashlib
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """A job: the SHA-256 of this file is wanted."""

    path: str
    """Below the folder that every worker has. A file that is attached needs no folder."""
    size: int


class Hashed(NamedTuple):
    """A result, and who has found it by which attempt."""

    sha256: str
    worker: str
    attempt: int


def id_of(path: Path, folder: Path) -> str:
    """The id of a job: of the file as it is now. When its content changes, it is another job."""
    name, status = str(path.relative_to(folder)), path.stat()
    version = hashlib.sha256(f"{name} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()
    return f"{name[-150:]} {version[:16]}"


def inside(folder: Path, path: str) -> Path:
    """A path that somebody else has named. Raises `PermissionError` if it leads out of the folder."""
    whole = (folder / path).resolve()
    if not whole.is_relative_to(folder.resolve()):
        raise PermissionError("it is not in the folder")
    return whole
