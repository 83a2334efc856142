"""The processing rules of the Noise Protocol Framework, revision 34 (section 5), without I/O.

Two objects on top of `cipher.CipherState`, each owning the one before it, under the names that the specification gives
them:

`SymmetricState` (5.2) is a CipherState whose key changes, with two hashes. ``h`` runs over everything that either
side saw: the name of the protocol, the prologue, public keys, ciphertexts. It is the associated data of each
encryption, so peers whose transcripts differ in one bit fail at the next encrypted field. ``h`` is public. ``ck``,
the chaining key, runs over every secret that the sides agree on; each new secret gives a new ``k``, so what is
encrypted later is protected by all secrets so far.

`HandshakeState` (5.3) is a SymmetricState with the keys of both sides. It walks through the messages of a pattern,
token by token, and each side does for a token what the other does:

    e                   send a fresh public key, in the clear
    s                   send the static public key, encrypted as soon as there is a key
    ee es se ss         mix in the Diffie-Hellman of two keys: the initiator's is the first letter
    psk                 mix in a pre-shared key

and then encrypts the payload in the same way. After the last message, Split (5.2) turns ``ck`` into the two
transport keys, and we take a third output as the exporter secret: unlike ``h`` it is known to the two peers alone.

What a peer sends is never trusted to be of a size: see `x25519.dh`. A handshake that failed can't be resumed: see
`HandshakeState`.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

from chanlink.errors import HandshakeError, LocalProtocolError, RemoteProtocolError

from .cipher import CHACHAPOLY, KEYLEN, MAX_MESSAGE, TAGLEN, CipherState
from .patterns import MessagePattern, ProtocolName, Token, parse_protocol_name
from .x25519 import DHLEN, KeyPair, check_public_key, dh, generate_keypair

_T = TypeVar("_T")

CIPHERS = {"ChaChaPoly": CHACHAPOLY}

HASHES = {"BLAKE2s": "blake2s", "BLAKE2b": "blake2b", "SHA256": "sha256", "SHA512": "sha512"}
"""Names of hash functions in protocol names -> in hashlib."""


def hkdf(hash_name: str, chaining_key: bytes, input_key_material: bytes, num_outputs: int) -> list[bytes]:
    """HKDF (section 4.3): outputs of the length of the hash, whose name is one of hashlib's."""
    temp_key = hmac.digest(chaining_key, input_key_material, hash_name)
    outputs = [b""]
    for counter in range(1, num_outputs + 1):
        outputs.append(hmac.digest(temp_key, outputs[-1] + bytes([counter]), hash_name))
    return outputs[1:]


# --- SymmetricState (section 5.2) -------------------------------------------------------------------


class SymmetricState:
    """The hashes and the key of a handshake under way. ``exporter_secret`` is empty until `split`."""

    def __init__(self, protocol: ProtocolName) -> None:
        """Raises `LocalProtocolError` if ``protocol`` names a function that is not known."""
        if protocol.dh != "25519" or protocol.cipher not in CIPHERS or protocol.hash not in HASHES:
            raise LocalProtocolError(f"unknown function in {protocol.name!r}")
        self._hash_name = HASHES[protocol.hash]
        self._cipher = CIPHERS[protocol.cipher]
        self._cipher_state = CipherState(cipher=self._cipher)
        self.exporter_secret = b""
        self.initialize_symmetric(protocol.name.encode())

    def initialize_symmetric(self, protocol_name: bytes) -> None:
        """InitializeSymmetric: a name that fits in a hash is padded, a longer one is hashed."""
        hash_length = hashlib.new(self._hash_name).digest_size
        if len(protocol_name) <= hash_length:
            self._h = protocol_name.ljust(hash_length, b"\0")
        else:
            self._h = self._hash(protocol_name)
        self._ck = self._h
        self._cipher_state.initialize_key(None)

    def has_key(self) -> bool:
        """Whether fields are encrypted by now."""
        return self._cipher_state.has_key()

    def mix_key(self, input_key_material: bytes) -> None:
        """MixKey: a new secret changes the chaining key and the key."""
        self._ck, temp_k = self._hkdf(input_key_material, 2)
        self._cipher_state.initialize_key(temp_k[:KEYLEN])

    def mix_hash(self, data: bytes) -> None:
        """MixHash: both sides saw ``data``."""
        self._h = self._hash(self._h + data)

    def mix_key_and_hash(self, input_key_material: bytes) -> None:
        """MixKeyAndHash: as `mix_key`, and binds the hash to the secret; for pre-shared keys (section 9.1)."""
        self._ck, temp_h, temp_k = self._hkdf(input_key_material, 3)
        self.mix_hash(temp_h)
        self._cipher_state.initialize_key(temp_k[:KEYLEN])

    def get_handshake_hash(self) -> bytes:
        """GetHandshakeHash: names this one handshake, once it is complete; no secret (section 11.2)."""
        return self._h

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """EncryptAndHash: a field of a message that we write."""
        ciphertext = self._cipher_state.encrypt_with_ad(self._h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """DecryptAndHash: a field of a message that we read; raises `RemoteProtocolError` if it was changed."""
        plaintext = self._cipher_state.decrypt_with_ad(self._h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Split: the states for messages of the initiator, and of the responder. Call it once."""
        # The specification asks for two outputs; a third one leaves those as they are.
        temp_k1, temp_k2, self.exporter_secret = self._hkdf(b"", 3)
        # Forward secrecy: whoever gets hold of this object later can't derive the transport keys again.
        self._ck = b""
        self._cipher_state.initialize_key(None)
        return self._transport(temp_k1), self._transport(temp_k2)

    def _transport(self, temp_k: bytes) -> CipherState:
        return CipherState(temp_k[:KEYLEN], cipher=self._cipher)

    def _hash(self, data: bytes) -> bytes:
        return hashlib.new(self._hash_name, data).digest()

    def _hkdf(self, input_key_material: bytes, num_outputs: int) -> list[bytes]:
        return hkdf(self._hash_name, self._ck, input_key_material, num_outputs)


# --- HandshakeState (section 5.3) -------------------------------------------------------------------


class HandshakeState:
    """One side of one handshake: call `write_message` and `read_message` in turn until `finished`, then `split`.

    A call out of turn raises `LocalProtocolError` and changes nothing. Any other failure, of writing or reading,
    leaves the object dead: every later call raises `LocalProtocolError`. There is nothing to go back to. Over an
    ordered connection a bad message has no better successor, and a side that reads on after a failure would let a
    stranger try many messages against one ephemeral key.
    """

    def __init__(
        self,
        protocol_name: str,
        initiator: bool,
        *,
        prologue: bytes = b"",
        s: KeyPair | None = None,
        e: KeyPair | None = None,
        rs: bytes | None = None,
        psks: Sequence[bytes] = (),
    ) -> None:
        """Initialize.

        ``s`` is our static key pair, ``rs`` the peer's static public key, ``psks`` the pre-shared keys in the order
        of their tokens; each must be given if the pattern needs it, and must not if the pattern has no use for it
        (a caller that gives ``rs`` to XX believes that it is checked). ``e`` is for tests: it is generated otherwise.
        Raises `LocalProtocolError` for an unknown protocol and for wrong keys, `HandshakeError` for an ``rs`` that
        is no public key.
        """
        protocol = parse_protocol_name(protocol_name)
        pattern = protocol.pattern
        _check_given("s", s is not None, pattern.needs_static(initiator))
        _check_given("rs", rs is not None, pattern.responder_known if initiator else pattern.initiator_known)
        if len(psks) != pattern.psk_count or any(len(psk) != KEYLEN for psk in psks):
            raise LocalProtocolError(f"{protocol_name} takes {pattern.psk_count} pre-shared keys of 32 bytes")
        self._initiator = initiator
        self._s, self._e = s, e
        self._rs = None if rs is None else check_public_key(rs)
        self._re: bytes | None = None
        self._psks = list(psks)
        self._psk_handshake = pattern.psk_count > 0
        self._messages = list(pattern.messages)
        self._writes_next = initiator
        self._over = False
        self._symmetric_state = SymmetricState(protocol)
        self._symmetric_state.mix_hash(prologue)
        # Pre-messages: the initiator's key first (section 5.3).
        if pattern.initiator_known:
            self._symmetric_state.mix_hash(self._static_of(initiator=True))
        if pattern.responder_known:
            self._symmetric_state.mix_hash(self._static_of(initiator=False))

    @property
    def finished(self) -> bool:
        """Whether all messages went through."""
        return not self._messages

    @property
    def rs(self) -> bytes:
        """The peer's static public key; raises `LocalProtocolError` before it is known."""
        return _known(self._rs)

    @property
    def handshake_hash(self) -> bytes:
        """Names this one handshake; equal on both sides, no secret. `LocalProtocolError` before it is finished."""
        if not self.finished:
            raise LocalProtocolError("the handshake is not finished")
        return self._symmetric_state.get_handshake_hash()

    @property
    def exporter_secret(self) -> bytes:
        """A secret of the two peers, to derive other keys from; raises `LocalProtocolError` before `split`."""
        if not self._symmetric_state.exporter_secret:
            raise LocalProtocolError("the exporter secret comes with split")
        return self._symmetric_state.exporter_secret

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next message, for the peer (WriteMessage).

        Raises `HandshakeError` if a key that the peer sent turns out to be of low order, `LocalProtocolError` if the
        payload does not fit in a message; the object is dead then.
        """
        tokens = self._begin(writing=True)
        message = b"".join([self._write_token(token) for token in tokens])
        message += self._symmetric_state.encrypt_and_hash(payload)
        if len(message) > MAX_MESSAGE:
            raise LocalProtocolError("the payload does not fit in a message")
        self._end()
        return message

    def read_message(self, message: bytes) -> bytes:
        """The payload of the peer's next message (ReadMessage).

        Raises `HandshakeError` for whatever is wrong with the message; the object is dead then.
        """
        tokens = self._begin(writing=False)
        if len(message) > MAX_MESSAGE:
            raise HandshakeError("a handshake message is too long")
        try:
            for token in tokens:
                message = self._read_token(token, message)
            payload = self._symmetric_state.decrypt_and_hash(message)
        except RemoteProtocolError as exc:
            raise HandshakeError("a handshake message failed authentication") from exc
        self._end()
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """The cipher states for what the initiator sends, and for what the responder sends (Split).

        This consumes the handshake: only `rs`, `handshake_hash` and `exporter_secret` can be read afterwards.
        A one-way pattern has no use for the second state (section 7.4).
        """
        if self._over or not self.finished:
            raise LocalProtocolError("the handshake is over" if self._over else "the handshake is not finished")
        self._over = True
        self._s = self._e = None
        return self._symmetric_state.split()

    def forget(self) -> None:
        """Have no secrets any more; every later call is a `LocalProtocolError`."""
        self._over = True
        self._s = self._e = None
        self._psks.clear()
        del self._symmetric_state  # nobody gets that far any more

    def _begin(self, *, writing: bool) -> MessagePattern:
        """Check that it is the time for this call. The object is dead from here to `_end`, if that is reached."""
        if self._over or self.finished:
            raise LocalProtocolError("the handshake is over")
        if writing != self._writes_next:
            raise LocalProtocolError("the next message is ours" if self._writes_next else "the next message is theirs")
        self._over = True
        return self._messages[0]

    def _end(self) -> None:
        del self._messages[0]
        self._writes_next = not self._writes_next
        self._over = False

    def _write_token(self, token: Token) -> bytes:
        """What a token puts into a message; empty for those that only mix in a secret."""
        if token == "e":
            self._e = self._e or generate_keypair()
            self._mix_ephemeral(self._e.public)
            return self._e.public
        if token == "s":
            return self._symmetric_state.encrypt_and_hash(_known(self._s).public)
        self._mix_secret(token)
        return b""

    def _read_token(self, token: Token, message: bytes) -> bytes:
        """Take from the message what belongs to a token, and return the rest."""
        if token == "e":
            self._re = check_public_key(message[:DHLEN])
            self._mix_ephemeral(self._re)
            return message[DHLEN:]
        if token == "s":
            length = DHLEN + TAGLEN if self._symmetric_state.has_key() else DHLEN
            self._rs = check_public_key(self._symmetric_state.decrypt_and_hash(message[:length]))
            return message[length:]
        self._mix_secret(token)
        return message

    def _mix_ephemeral(self, public_key: bytes) -> None:
        self._symmetric_state.mix_hash(public_key)
        if self._psk_handshake:  # a fresh key must go into ck, since a psk alone is not fresh (section 9.2)
            self._symmetric_state.mix_key(public_key)

    def _mix_secret(self, token: Token) -> None:
        if token == "psk":
            self._symmetric_state.mix_key_and_hash(self._psks.pop(0))
        else:
            self._symmetric_state.mix_key(self._dh(token))

    def _dh(self, token: Token) -> bytes:
        """The Diffie-Hellman of ``ee``, ``es``, ``se`` or ``ss``: first the initiator's key, then the responder's."""
        ours, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        key_pair = self._e if ours == "e" else self._s
        public_key = self._re if theirs == "e" else self._rs
        return dh(_known(key_pair), _known(public_key))

    def _static_of(self, *, initiator: bool) -> bytes:
        return _known(self._s).public if initiator == self._initiator else self.rs


def _check_given(name: str, given: bool, needed: bool) -> None:
    if given != needed:
        raise LocalProtocolError(f"this side of the pattern {'needs' if needed else 'has no use for'} {name}")


def _known(key: _T | None) -> _T:
    if key is None:
        raise LocalProtocolError("a key is not known yet")
    return key
