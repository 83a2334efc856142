"""The line by which `chanlink stdio` says that the session begins behind it (protocol section 17). No I/O.

What stands before it is somebody else's: the banner of a login shell.
"""

import re
import secrets
from base64 import b64decode
from typing import NamedTuple

from chanlink.errors import ConnectFailed

BANNER_MAX = 64 * 1024
"""Bytes before the end of the line."""
WORD = "chanlink-stdio"

_KEY = re.compile(rb"[A-Za-z0-9+/=]{68}")
_TYPE = b"\0\0\0\x0bssh-ed25519\0\0\0 "


class Answer(NamedTuple):
    """What came."""

    before: bytes
    """The banner."""
    key: str
    """Of the server, as a line of OpenSSH; empty if it has said none."""


def new_token() -> str:
    """What the line repeats: nobody can have prepared it."""
    return secrets.token_hex(16)


def is_token(text: str) -> bool:
    """Whether it is one."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def line_of(token: str, key: str = "") -> bytes:
    """The line that answers this token, with our public key (a line of OpenSSH), if the peer is to know it."""
    words = [WORD, token, key.split(" ")[1]] if key else [WORD, token]
    return (" ".join(words) + "\n").encode()


class Reader:
    """Reads up to the line for this token."""

    def __init__(self, token: str) -> None:
        self._start = f"{WORD} {token}".encode()
        self._data = bytearray()
        self._lines = 0  # bytes of lines that are none

    def feed(self, data: bytes | memoryview) -> Answer | None:
        """What has come: the answer, if that is it. Raises `ConnectFailed`."""
        self._data += data
        while (end := self._data.find(b"\n", self._lines)) >= 0 and end < BANNER_MAX:
            line = bytes(self._data[self._lines : end]).removesuffix(b"\r")
            if line.startswith(self._start):
                if end + 1 < len(self._data):
                    raise ConnectFailed("something else writes into the session: bytes came before it began")
                return Answer(bytes(self._data[: self._lines]), self._key(line[len(self._start) :]))
            self._lines = end + 1
        if len(self._data) > BANNER_MAX:
            raise ConnectFailed(f"no {WORD} in the first {BANNER_MAX} bytes: what is started there?")
        return None

    @property
    def before(self) -> bytes:
        """What has come, while there is no answer."""
        return bytes(self._data)

    @staticmethod
    def _key(rest: bytes) -> str:
        if not rest:
            return ""
        if not (rest.startswith(b" ") and _KEY.fullmatch(rest[1:])) or not b64decode(rest[1:]).startswith(_TYPE):
            raise ConnectFailed(f"the line {WORD} does not end with an Ed25519 key")
        return f"ssh-ed25519 {rest[1:].decode()}"
