"""Pre-shared keys: 32 random bytes that both sides have besides their identities (protocol section 2).

A server that has one answers nothing to a client without it, and what is recorded today stays secret even if X25519
should be broken one day. The key must be random: whoever records a first message can try guesses at a passphrase on it.
"""

import base64
import binascii
import os

from chanlink.arguments import expect
from chanlink.errors import ConfigError, HandshakeError, KeyFormatError
from chanlink.security.keys.files import expand, read_limited
from chanlink.security.noise.cipher import KEYLEN

CLOCKS_DIFFER = 60
"""Seconds that the client's clock may be off."""
REMEMBERED = 120.0
"""Seconds for which a first message could be repeated: as long as its time is good."""
MOST_REMEMBERED = 131_072
"""More than one processor can answer in that time. Only a client with the key gets that far."""

Psk = bytes | str | os.PathLike[str]


def load_psk(psk: Psk | None) -> bytes | None:
    """The key itself, or that in a file: 32 bytes, or the base64 of them as ``wg genpsk`` and ``openssl rand -base64
    32`` write it. Raises `ConfigError`, and `KeyFormatError` for a file that is none or that others may read."""
    if psk is None:
        return None
    expect("psk", psk, bytes, str, os.PathLike)
    if isinstance(psk, bytes):
        if len(psk) != KEYLEN:
            raise ConfigError("a pre-shared key has 32 bytes")
        return psk
    data = read_limited(psk, 256, secret=True)
    if len(data) != KEYLEN:
        try:
            data = base64.b64decode(data.strip(), validate=True)
        except binascii.Error:
            data = b""
    if len(data) != KEYLEN:
        raise KeyFormatError(f"{expand(psk)} holds no pre-shared key: 32 bytes, or the base64 of them")
    return data


class ReplayGuard:
    """The first messages that a server with a pre-shared key has answered: each is good for one answer."""

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, ephemeral: bytes, time_said: object, clock: float, now: float) -> None:
        """Raises `HandshakeError` for a first message that was recorded. ``clock`` is the time of day, ``now`` runs
        evenly."""
        if type(time_said) is not int or abs(time_said - clock) > CLOCKS_DIFFER:
            raise HandshakeError(
                "the time in the first message is not that of our clock: a replay, or one of the two is wrong",
                code="clock",
            )
        while self._seen and next(iter(self._seen.values())) < now - REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if ephemeral in self._seen:
            raise HandshakeError("a first message was replayed")
        if len(self._seen) >= MOST_REMEMBERED:  # to forget one would be to let it be replayed
            raise HandshakeError("too many handshakes in two minutes")
        self._seen[ephemeral] = now
