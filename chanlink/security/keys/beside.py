"""Files beside a key, which say something of it: ``KEY-cert.pub``, ``KEY-successor``.

Whoever renews a credential writes its file anew, and no program is told. So the file is looked at whenever it is
needed, and read when it is another one by then. One that can't be read then changes nothing: a credential is replaced
while programs run, and half a file must not end what the whole one has begun.
"""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from chanlink.errors import KeyFormatError
from chanlink.printing import printable_logger

from .credential import OTHER_CA, Credential
from .files import file_problem
from .openssh import PublicKey
from .successor import Successor
from .threads import run_apart

logger = printable_logger(__name__)

T = TypeVar("T")
State = tuple[int, ...] | None
"""What tells one file from another one of the same name; ``None`` if there is none."""


class Beside(Generic[T]):
    """What one file beside a key says; it may be missing, and then it says nothing."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self.path = path
        self._read = read
        self._state: State = None
        self._found: T | None = None

    def load(self) -> None:
        """Read it for the first time (synchronously). Raises `KeyFormatError` when it is there and can't be read."""
        self._state = self._look()
        self._found = None if self._state is None else self._read(self.path)

    async def now(self) -> T | None:
        """What it says now. One that can't be read any more leaves what it said before, and is logged once."""
        try:
            changed = await run_apart(self._changed, self._state, abandon=True)
        except _Unreadable as exc:
            if exc.state != self._state:
                logger.warning("%s; what it said before goes on", exc)
                self._state = exc.state
        else:
            if changed is not None:
                self._state, self._found = changed
        return self._found

    def _changed(self, known: State) -> tuple[State, T | None] | None:
        """In a thread: the file's state and what it says, if that is another state than the one that is known."""
        state: State = ()
        try:
            state = self._look()
            return None if state == known else (state, None if state is None else self._read(self.path))
        except KeyFormatError as exc:
            raise _Unreadable(str(exc), state) from exc

    def _look(self) -> State:
        """Raises `KeyFormatError`."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            if exc.errno == errno.ENAMETOOLONG:  # the key's own name is not
                return None
            raise KeyFormatError(file_problem(self.path, exc)) from exc
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _Unreadable(Exception):
    """This state of the file can't be read."""

    def __init__(self, text: str, state: State) -> None:
        super().__init__(text)
        self.state = state


def of_key(path: Path, key: PublicKey) -> tuple[Beside[Sequence[Credential]], Beside[Successor]]:
    """What lies beside the file of a key now. Raises `KeyFormatError` when something is there and can't be used."""

    def load_credentials(file: Path) -> Sequence[Credential]:
        try:
            credential = Credential.load(file)
        except KeyFormatError as exc:
            if exc.code != OTHER_CA:
                raise
            logger.warning("%s; it is not shown", exc)  # ssh can use it, so that it may lie there
            return ()
        _check_key(file, credential.key, key)
        return (credential,)

    def load_successor(file: Path) -> Successor:
        successor = Successor.load(file)
        _check_key(file, successor.new, key)
        return successor

    credentials = Beside(path.with_name(f"{path.name}-cert.pub"), load_credentials)
    successors = Beside(path.with_name(f"{path.name}-successor"), load_successor)
    credentials.load()
    successors.load()
    return credentials, successors


def _check_key(file: Path, found: PublicKey, expected: PublicKey) -> None:
    if found != expected:
        raise KeyFormatError(f"{file}: it is of the key {found.fingerprint}, not of {expected.fingerprint}")
