"""How a side proves that it is the one that had a session before (protocol section 3.7). No I/O.

A proof is of a secret that only the two sides have, and of the handshake that it belongs to: one that was recorded is
good for no other connection.
"""

import hmac
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from chanlink.errors import HandshakeError
from chanlink.security.keys.certificate import Role

LABEL = "chanlink resume v1"
HASH = "blake2s"
PROOF = 32
"""Bytes."""
_BODY = Struct(f">QQ{PROOF}s")
RESUME_BYTES = _BODY.size
"""Of the body of a record 5."""
_PROVED = Struct(">B32s16sQQ")


class Resume(NamedTuple):
    """What a client says in its record 5."""

    attempt: int
    """More than in each one before."""
    received: int
    """How much it has received."""
    proof: bytes

    def packed(self) -> bytes:
        """The body of the record."""
        return _BODY.pack(*self)

    @classmethod
    def read(cls, body: bytes) -> "Resume":
        """Of a body. Raises `HandshakeError` for one that is none."""
        if len(body) != RESUME_BYTES:
            raise HandshakeError(f"a record that resumes has {len(body)} bytes, not {RESUME_BYTES}")
        return cls(*_BODY.unpack(body))


def secret_of(export: Callable[[str, int], bytes]) -> bytes:
    """The resumption secret of a session, by the exporter of its first handshake."""
    return export(LABEL, 32)


class Prover(NamedTuple):
    """Makes and checks the proofs of one session on one connection, of which ``h`` is the hash of the handshake."""

    secret: bytes
    session: bytes
    h: bytes

    def __repr__(self) -> str:
        return f"<Prover of {self.session.hex()}>"

    def prove(self, role: Role, attempt: int, count: int) -> bytes:
        """The proof of the side with this role."""
        proved = _PROVED.pack(role, self.h, self.session, attempt, count)
        return hmac.digest(self.secret, proved, HASH)

    def resume(self, attempt: int, count: int) -> Resume:
        """What the client says."""
        return Resume(attempt, count, self.prove(Role.CLIENT, attempt, count))

    def is_proved(self, role: Role, attempt: int, count: int, proof: bytes) -> bool:
        """Whether the proof is right; how long that takes says nothing of how far it is."""
        return hmac.compare_digest(self.prove(role, attempt, count), proof)
