"""Decrypting private keys that have a passphrase (OpenSSH PROTOCOL.key).

The only module that needs the extra ``chanlink[ssh]``: it is imported when there is something to decrypt. What comes
out is read by openssh.py as strictly as a key without a passphrase.
"""

from typing import NamedTuple

from chanlink.errors import ConfigError, KeyFormatError

BLOCK = 16
"""Of AES, to which the secret half is padded."""
ROUNDS_MAX = 1_024
"""A round takes 6 ms, and ssh-keygen writes 16 or 24 of them unless told otherwise."""
SALT_LENGTH = 16
HOW_TO_CHANGE_IT = "write it anew with: ssh-keygen -p -Z aes256-ctr -f FILE"


class _Cipher(NamedTuple):
    mode: str
    key: int
    iv: int
    tag: int = 0


_CIPHERS = {
    "aes256-ctr": _Cipher("CTR", 32, 16),  # what ssh-keygen writes
    "aes192-ctr": _Cipher("CTR", 24, 16),
    "aes128-ctr": _Cipher("CTR", 16, 16),
    "aes256-cbc": _Cipher("CBC", 32, 16),  # what it wrote before 2018
    "aes192-cbc": _Cipher("CBC", 24, 16),
    "aes128-cbc": _Cipher("CBC", 16, 16),
    "aes256-gcm@openssh.com": _Cipher("GCM", 32, 12, 16),
    "aes128-gcm@openssh.com": _Cipher("GCM", 16, 12, 16),
}


def check_method(cipher: str, kdf: str) -> None:
    """Raise `KeyFormatError` for what can't be decrypted."""
    if kdf != "bcrypt" or cipher not in _CIPHERS:
        raise KeyFormatError(f"encrypted in a way that is not known, {cipher[:40]!r} {kdf[:40]!r}; {HOW_TO_CHANGE_IT}")


class Encryption(NamedTuple):
    """How a key file says that its secret half is encrypted."""

    cipher: str
    salt: bytes
    rounds: int

    def check(self) -> None:
        """Raise `KeyFormatError` for what would take too long, or was not written by ssh-keygen."""
        if len(self.salt) != SALT_LENGTH:
            raise KeyFormatError(f"the salt has not {SALT_LENGTH} bytes")
        if not 0 < self.rounds <= ROUNDS_MAX:
            raise KeyFormatError(f"{self.rounds} rounds of bcrypt, and at most {ROUNDS_MAX} are done")

    @property
    def tag_length(self) -> int:
        """The bytes that follow the secret half."""
        return _CIPHERS[self.cipher].tag

    def decrypt(self, data: bytes, tag: bytes, passphrase: bytes) -> bytes:
        """Decrypt the secret half; takes a tenth of a second or more. A wrong passphrase may give any bytes.

        Raises `KeyFormatError` when it is certainly wrong, and `ConfigError` when ``chanlink[ssh]`` is not installed.
        """
        try:
            import bcrypt
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError as exc:
            raise ConfigError(
                "keys with a passphrase need more: pip install 'chanlink[ssh]', or use ssh-agent"
            ) from exc
        if not data or len(data) % BLOCK:
            raise KeyFormatError("the encrypted half is not whole blocks")
        cipher = _CIPHERS[self.cipher]
        stream = bcrypt.kdf(passphrase, self.salt, cipher.key + cipher.iv, self.rounds, ignore_few_rounds=True)
        key, iv = stream[: cipher.key], stream[cipher.key :]
        mode = modes.GCM(iv, tag) if cipher.mode == "GCM" else getattr(modes, cipher.mode)(iv)
        decryptor = Cipher(algorithms.AES(key), mode).decryptor()
        try:
            return bytes(decryptor.update(data) + decryptor.finalize())
        except InvalidTag as exc:
            raise KeyFormatError("the passphrase is wrong", code="passphrase-wrong") from exc
