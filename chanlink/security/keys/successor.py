"""Successors: an old identity says which new one takes its place (protocol section 2.6).

Two forms: the entry of a handshake, which is a time and a signature, and one line, as it lies in a file
``KEY-successor`` beside the new key:

    chanlink-successor-v1 TIME SIGNATURE ssh-ed25519 AAAA... comment

What can't be read, or whose signature is wrong, is a `KeyFormatError`.
"""

import base64
import os
from struct import Struct
from typing import NamedTuple, Protocol, Self

from chanlink.arguments import expect
from chanlink.errors import KeyFormatError

from .openssh import (
    PublicKey,
    decode_base64,
    encode_sshsig,
    parse_file,
    parse_sshsig,
    sshsig_signed_data,
)

LIFE = 7_776_000
"""Seconds that one holds: 90 days."""
CLOCK_SKEW = 300
"""Seconds that the clock of whoever made it may be before ours."""
NAMESPACE = b"chanlink-successor-v1"
SSHSIG_MAX = 1_024
"""Bytes of its signature."""

_SIGNED_MESSAGE = Struct(">B32sQ")
"""Version, the new key, time."""
_SIGNED_MESSAGE_VERSION = 1
_TIME_END = 2**64


class Signer(Protocol):
    """An identity, as far as it is needed here."""

    @property
    def public_key(self) -> PublicKey: ...

    async def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of ``data``."""


class Successor(NamedTuple):
    """A signature of the old identity over the new one, which was verified when this was made."""

    old: PublicKey
    new: PublicKey
    time: int
    """Seconds since 1970: when it was made."""
    sshsig: bytes
    """Of `signed_message`: a binary SSHSIG blob."""

    @classmethod
    async def made(cls, old: Signer, new: PublicKey, now: int) -> Self:
        """Have the old identity say, at this time (seconds since 1970), that ``new`` takes its place.

        Raises `KeyFormatError` when it signs with another key, or for itself, and what the signer raises.
        """
        expect("new", new, PublicKey)
        signature = await old.sign(sshsig_signed_data(NAMESPACE, signed_message(new, now)))
        return cls.parse(now, encode_sshsig(old.public_key, NAMESPACE, signature), new)

    @classmethod
    def parse(cls, time: int, sshsig: bytes, new: PublicKey) -> Self:
        """What is said of ``new``: the key that shows this. Raises `KeyFormatError`."""
        if len(sshsig) > SSHSIG_MAX:
            raise KeyFormatError(f"a successor's signature of {len(sshsig)} bytes, and {SSHSIG_MAX} are the most")
        message = signed_message(new, time)
        old, signature = parse_sshsig(sshsig, NAMESPACE)
        if not old.verify(sshsig_signed_data(NAMESPACE, message), signature):
            raise KeyFormatError("the successor's signature is wrong, or it is for another key or time")
        if old == new:  # to follow it would be to revoke the key for itself
            raise KeyFormatError("a key can't take its own place")
        return cls(old, new, time, sshsig)

    @classmethod
    def parse_line(cls, text: str) -> Self:
        """Read the line of a file. Raises `KeyFormatError`."""
        expect("text", text, str)
        words = text.removesuffix("\n").removesuffix("\r").split(" ", maxsplit=3)
        if len(words) != 4 or words[0].encode() != NAMESPACE:
            raise KeyFormatError(f"not of the form '{NAMESPACE.decode()} TIME SIGNATURE ssh-ed25519 AAAA...'")
        if not (words[1].isascii() and words[1].isdigit() and len(words[1]) <= len(str(_TIME_END))):
            raise KeyFormatError("the time of a successor is in seconds since 1970")
        return cls.parse(int(words[1]), decode_base64(words[2]), PublicKey.parse(words[3]))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file ``KEY-successor`` (synchronously; ``~`` is expanded).

        Raises `KeyFormatError`, also when there is no such file.
        """
        return parse_file(path, cls.parse_line)

    def holds(self, now: int) -> bool:
        """Whether it may be followed now (seconds since 1970)."""
        return self.time - CLOCK_SKEW <= now <= self.time + LIFE

    def __str__(self) -> str:
        return f"{NAMESPACE.decode()} {self.time} {base64.b64encode(self.sshsig).decode()} {self.new}"


def signed_message(new: PublicKey, time: int) -> bytes:
    """The 41 bytes that are signed, for ``ssh-keygen -Y verify``. Raises `KeyFormatError`."""
    if not 0 <= time < _TIME_END:
        raise KeyFormatError("the time of a successor is in seconds since 1970, of 64 bits")
    return _SIGNED_MESSAGE.pack(_SIGNED_MESSAGE_VERSION, new.raw, time)
