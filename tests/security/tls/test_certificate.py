"""The certificate that a server shows: what openssl makes of it, and that its key lies nowhere."""

import hashlib
import os
import ssl
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from chanlink import ConfigError, HandshakeError
from chanlink.security.keys.certificate import Certificate
from chanlink.security.tls.certificate import (
    OID,
    TlsKey,
    _in_pem,
    client_context,
    key_hash,
    needed,
    read_certificate,
    server_context,
)

NOW = int(time.time())
CERTIFICATE = Certificate(NOW, NOW + 86_400, b"")
PASSWORD = b"password"


def der_of(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem[pem.index(b"-----BEGIN CERTIFICATE") :].decode())


def test_the_hash_of_a_key_is_that_of_its_subject_public_key_info() -> None:
    key = TlsKey.generate()
    info = key.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert len(info) == 44
    assert key.hash == key_hash(key.public) == hashlib.sha256(info).digest()


def test_what_is_put_in_comes_out() -> None:
    key, said = TlsKey.generate(), b"\x81\xabcertificate\x83\xaanot_before\x01\xa9not_after\x02\xa6sshsig\xc4\x01x"
    found = read_certificate(der_of(_in_pem(key, CERTIFICATE, said, PASSWORD)))
    assert found.key_hash == key.hash
    assert found.said == {"certificate": {"not_before": 1, "not_after": 2, "sshsig": b"x"}}


def test_its_extension_is_not_critical_and_its_times_are_those_of_the_certificate() -> None:
    made = x509.load_der_x509_certificate(der_of(_in_pem(TlsKey.generate(), CERTIFICATE, b"x", PASSWORD)))
    (extension,) = made.extensions
    assert (extension.oid.dotted_string, extension.critical) == (OID, False)
    assert made.not_valid_before_utc.timestamp() == NOW


@pytest.mark.parametrize("der", [b"", b"x", bytes(5_000), b"\x30\x03\x02\x01\x01"], ids=range(4))
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(HandshakeError, match="can't be read"):
        read_certificate(der)


def test_a_context_leaves_no_file_and_what_it_wrote_was_encrypted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[int, bytes]] = []
    load = ssl.SSLContext.load_cert_chain

    def look(context: ssl.SSLContext, path: str, **options: object) -> None:
        seen.append((os.stat(os.path.dirname(path)).st_mode & 0o777, Path(path).read_bytes()))
        load(context, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    key = TlsKey.generate()
    server_context(key, CERTIFICATE, b"x")
    ((mode, written),) = seen
    assert mode == 0o700
    assert b"ENCRYPTED PRIVATE KEY" in written
    assert list(tmp_path.iterdir()) == []


def test_both_sides_have_tls_1_3_alone() -> None:
    for context in client_context(), server_context(TlsKey.generate(), CERTIFICATE, b"x"):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.keylog_filename is None


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'chanlink\[tls\]'"):
        needed()
