"""The Noise Protocol Framework, revision 34: handshakes and cipher states, without I/O.

`HandshakeState` runs one handshake of one side and ends in two `CipherState` objects, one for each direction.
Nothing here knows sockets, time or identities; `chanlink.security.handshake` puts them together.

Errors: `HandshakeError` for whatever is wrong with a handshake message, `RemoteProtocolError` for a later message
that is not the peer's next one, `LocalProtocolError` for a call out of turn or with wrong arguments.
"""

from .cipher import AEGIS256, CHACHAPOLY, KEYLEN, TAGLEN, Cipher, Crypt, CryptInto
from .patterns import HandshakePattern, ProtocolName, find_pattern, parse_protocol_name
from .state import (
    DHLEN,
    MAX_MESSAGE,
    MAX_NONCE,
    CipherState,
    HandshakeState,
    KeyPair,
    SymmetricState,
    check_public_key,
    dh,
    generate_keypair,
    hkdf,
)

__all__ = [
    "AEGIS256",
    "CHACHAPOLY",
    "DHLEN",
    "KEYLEN",
    "MAX_MESSAGE",
    "MAX_NONCE",
    "TAGLEN",
    "Cipher",
    "CipherState",
    "Crypt",
    "CryptInto",
    "HandshakePattern",
    "HandshakeState",
    "KeyPair",
    "ProtocolName",
    "SymmetricState",
    "check_public_key",
    "dh",
    "find_pattern",
    "generate_keypair",
    "hkdf",
    "parse_protocol_name",
]
