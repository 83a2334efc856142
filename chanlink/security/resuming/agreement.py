"""What the two sides of a session agree on, so that it may outlive its connection (protocol section 3.7). No I/O."""

import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from chanlink.limits import MAX_RESUME

from .proofs import secret_of

Export = Callable[[str, int], bytes]
"""The exporter of a handshake."""
SESSION_ID = 16
"""Bytes of what names a session, and of what names a listener."""


class Agreement(NamedTuple):
    """What both sides know of a session that may be resumed."""

    session: bytes
    """Names it. No secret, but never sent in the clear."""
    instance: bytes
    """Names the listener that has it."""
    secret: bytes
    """Proves that somebody is the other side of it."""
    seconds: float
    """How long the client may be away."""
    shared: bool
    """Whether others serve the same address, so that a client may come back to one that does not have the session."""

    def __repr__(self) -> str:
        return f"<Agreement on {self.session.hex()}>"

    def to_map(self) -> dict[str, Any]:
        """As the server says it."""
        return {
            "session": self.session,
            "milliseconds": to_milliseconds(self.seconds),
            "shared": self.shared,
        }

    @classmethod
    def read(cls, welcome: Mapping[str, Any], export: Export, asked: float) -> "Agreement | None":
        """Of a welcome to a client that has asked for so many seconds: None if nothing was granted there."""
        granted, instance = welcome.get("resumable"), welcome.get("instance")
        if granted is None or instance is None:
            return None
        seconds = min(granted["milliseconds"], to_milliseconds(asked)) / 1_000
        return cls(granted["session"], instance, secret_of(export), seconds, granted["shared"])


class Terms(NamedTuple):
    """What a listener grants to those who ask."""

    instance: bytes
    shared: bool
    seconds: float
    """At most; 0 for nothing at all."""

    @classmethod
    def made(cls, seconds: float, *, shared: bool = False) -> "Terms":
        """Those of one more listener."""
        return cls(secrets.token_bytes(SESSION_ID), shared, seconds)

    def grant(self, asked: int, export: Export) -> Agreement | None:
        """What comes of it that a client has asked for so many milliseconds, by the exporter of its handshake."""
        milliseconds = min(asked, to_milliseconds(self.seconds))
        if not milliseconds:
            return None
        session = secrets.token_bytes(SESSION_ID)
        return Agreement(session, self.instance, secret_of(export), milliseconds / 1_000, self.shared)


def to_milliseconds(seconds: float) -> int:
    """As it travels: a whole number, and never 0 for a time that is more."""
    return math.ceil(min(seconds, MAX_RESUME) * 1_000)
