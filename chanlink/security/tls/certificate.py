"""The certificate that a server shows to TLS: of a key of its process, with the word of its identity (section 18.2).

Nobody vouches for it in the way of X.509. What counts is the extension, in which the identity certifies the key.
"""

import datetime
import hashlib
import os
import secrets
import ssl
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from chanlink.errors import ConfigError, HandshakeError
from chanlink.security.keys.certificate import Certificate
from chanlink.security.payloads import TLS_SERVER, read

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMESPACE = b"chanlink-tls-v1"
"""Of the signatures of identities over keys of TLS."""
PROTOCOL = "chanlink/1"
"""The name of what is inside, for ALPN."""
OID = "2.25.250043205531922505382972570961964902160"
"""Of the extension."""
_EXTENSION_MAX = 8_192
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410)."""


class TlsKey:
    """An Ed25519 key of this process, for TLS and nothing else."""

    __slots__ = ("private", "public")

    def __init__(self, private: "Ed25519PrivateKey", public: bytes) -> None:
        self.private = private
        self.public = public

    @classmethod
    def generate(cls) -> "TlsKey":
        """A fresh one."""
        ed25519 = needed().ed25519
        private = ed25519.Ed25519PrivateKey.generate()
        return cls(private, private.public_key().public_bytes_raw())

    @property
    def hash(self) -> bytes:
        """What an identity certifies of it."""
        return key_hash(self.public)


def key_hash(public: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of an Ed25519 key."""
    return hashlib.sha256(_SPKI + public).digest()


class _Needed(NamedTuple):
    """What of cryptography is used here."""

    x509: Any
    ed25519: Any
    serialization: Any


def needed() -> _Needed:
    """The extra. Raises `ConfigError` where it is not installed."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as exc:
        raise ConfigError("security=chanlink.nacl_tls needs more: pip install 'chanlink[tls]'") from exc
    return _Needed(x509, ed25519, serialization)


# --- ours ---------------------------------------------------------------------------------------


def server_context(key: TlsKey, certificate: Certificate, extension: bytes) -> ssl.SSLContext:
    """What a server of TLS needs to know. Blocks: the standard library reads certificates from files only.

    The file is in a folder of this user alone, for a moment; its key is encrypted, and the password is kept nowhere.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    password = secrets.token_hex(32).encode()
    with TemporaryDirectory(prefix="chanlink-") as folder:
        path = os.path.join(folder, "certificate.pem")
        with open(path, "wb") as file:
            file.write(_in_pem(key, certificate, extension, password))
        context.load_cert_chain(path, password=password)
    return context


def client_context() -> ssl.SSLContext:
    """What a client needs to know. It verifies no names and no chains: who the server is says the extension."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([PROTOCOL])
    return context


def _in_pem(key: TlsKey, certificate: Certificate, extension: bytes, password: bytes) -> bytes:
    """The key, encrypted, and its certificate."""
    x509, _, serialization = needed()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "chanlink")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(certificate.not_before))
        .not_valid_after(_time(certificate.not_after))
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(OID), extension), critical=False)
        .sign(key.private, None)
    )
    encryption = serialization.BestAvailableEncryption(password)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret: bytes = key.private.private_bytes(pem, pkcs8, encryption)
    shown: bytes = made.public_bytes(pem)
    return secret + shown


def _time(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


# --- the other side's ---------------------------------------------------------------------------


class Read(NamedTuple):
    """What a certificate of a server says."""

    key_hash: bytes
    said: dict[str, Any]
    """The entries of the extension."""


def read_certificate(der: bytes) -> Read:
    """What there is in a server's certificate; its signature was not looked at. Raises `HandshakeError`."""
    x509, ed25519, _ = needed()
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        found = [one.value for one in certificate.extensions if one.oid.dotted_string == OID]
    except Exception as exc:  # of many kinds, for what a stranger may put into one
        raise HandshakeError("the server's certificate can't be read") from exc
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise HandshakeError("the server's certificate is not of an Ed25519 key")
    if not found:
        raise HandshakeError("the server speaks TLS, but its certificate says nothing of an identity of chanlink")
    if len(found[0].value) > _EXTENSION_MAX:
        raise HandshakeError("the extension of the server's certificate is too long")
    return Read(key_hash(key.public_bytes_raw()), read(found[0].value, TLS_SERVER))
