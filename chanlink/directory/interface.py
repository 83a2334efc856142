"""What can be called of a directory, by those who look servers up and by those who register (protocol section 15).

They are two services, so that a trust file can allow the one without the other. The interfaces are made when they are
needed first: types of messages need msgspec, and a program without a directory does not.
"""

from collections.abc import AsyncGenerator
from functools import cache
from typing import NotRequired, Protocol, TypedDict

from chanlink.calls.interface import Interface
from chanlink.calls.marks import idempotent

from .problems import PROBLEMS

LOOKING_UP = "directory"
REGISTERING = "directory.register"
"""The names of the services."""


class Told(TypedDict):
    """An entry, as a directory passes it on."""

    entry: bytes
    sshsig: bytes
    left: int
    """Milliseconds that it lives from now on, as the directory counts."""
    prekeys: NotRequired[bytes]
    """What lies beside it, if anything does."""


class Left(TypedDict):
    """Which entry there is no more."""

    name: str
    key: bytes


class Change(TypedDict, total=False):
    """One of these."""

    told: Told
    gone: Left
    current: bool
    """All that there was has been told."""


class Succession(TypedDict):
    """Another key says that the one of the session takes its place, as in a handshake (section 2.6)."""

    time: int
    sshsig: bytes


class LookingUp(Protocol):
    """The service ``directory``."""

    @idempotent
    async def lookup(self, name: str) -> list[Told]:
        """The entries under this name, in any order; none if there are none."""

    def changes(self, prefix: str = "") -> AsyncGenerator[Change, None]:
        """The entries whose names begin so, then ``current``, and then what changes."""


class Registering(Protocol):
    """The service ``directory.register``."""

    @idempotent
    async def register(
        self, entry: bytes, sshsig: bytes, prekeys: bytes = b"", successor: Succession | None = None
    ) -> None:
        """Keep an entry of the key of this session, in the place of the one that it has under that name, or that the
        key has in whose place it comes."""

    @idempotent
    async def withdraw(self, name: str) -> None:
        """Forget the entry that this key has under the name, which it keeps."""

    @idempotent
    async def remove(self, name: str) -> bool:
        """Forget the name, and all entries under it. False if nobody has it."""


@cache
def looking_up() -> "Interface[LookingUp]":
    """The interface of the service ``directory``. Raises `ConfigError` when there is no msgspec."""
    return Interface(LookingUp, PROBLEMS)


@cache
def registering() -> "Interface[Registering]":
    """The interface of the service ``directory.register``. Raises as `looking_up`."""
    return Interface(Registering, PROBLEMS)
