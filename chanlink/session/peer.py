"""The other side of a session, and what it opens there."""

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from chanlink.security.keys.openssh import PublicKey


@dataclasses.dataclass(slots=True)
class Peer:
    """The other side of a session."""

    key: PublicKey | None
    """Its identity; None only for a session over a byte stream of your own without one."""
    name: str
    """The name that we know it by now: the comment in the trust file, or else its fingerprint.

    It changes when the trust file does: whatever decides by it has to look each time.
    """
    address: str

    def __hash__(self) -> int:
        return hash(self.key)  # which never changes, so that a peer may be a key in a dict


class Incoming(NamedTuple):
    """A top-level channel or byte stream that the peer opened."""

    service: str
    end: Any
    """A `Receiver` or a `ByteStream` (a `Sender` from peers that open channels the other way round)."""
    peer: Peer


def withdraw(
    waiting: deque[Incoming], code: str, text: str = "", *, allows: Callable[[str], bool] | None = None
) -> None:
    """Nobody will accept these, but for services that the peer may still use."""
    for incoming in [one for one in waiting if allows is None or not allows(one.service)]:
        waiting.remove(incoming)
        incoming.end._forsake(code, text)
