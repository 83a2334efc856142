"""Self-signed certificates for the peers that speak TLS."""

import datetime
from pathlib import Path
from typing import Any, NamedTuple

from .meter import Missing


class Pem(NamedTuple):
    key: bytes
    certificate: bytes


def ed25519(who: str) -> Pem:
    """As our own keys are."""
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _self_signed(who, Ed25519PrivateKey.generate(), None)


def p256(who: str) -> Pem:
    """For libraries that don't take Ed25519."""
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    return _self_signed(who, ec.generate_private_key(ec.SECP256R1()), SHA256())


def write(path: Path, pem: Pem) -> None:
    path.write_bytes(pem.key + pem.certificate)


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as exc:
        raise Missing("needs cryptography: pip install cryptography") from exc


def _self_signed(who: str, key: Any, algorithm: Any) -> Pem:
    """For ``localhost``, and for two hours."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, algorithm)
    )
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return Pem(private, certificate.public_bytes(serialization.Encoding.PEM))
