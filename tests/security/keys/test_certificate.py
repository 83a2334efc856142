"""Certificates: whose static key this is, for which role, and until when."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgpack
import pytest

from chanlink.errors import HandshakeError
from chanlink.security.keys.certificate import Certificate, Role, certify
from chanlink.security.keys.identity import Identity
from chanlink.security.payloads import CERTIFICATE, Entry, read

from .programs import armored, needs_ssh_keygen, ssh_keygen

NAMESPACE = b"chanlink-static-v1"
NOW = 1_700_000_000
DAY = 24 * 3600
STATIC = bytes(range(32))
ALICE = Identity.generate("alice@laptop")
MALLORY = Identity.generate("mallory")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def flips(data: bytes) -> Iterator[bytes]:
    """Every way to change one bit."""
    for bit in range(8 * len(data)):
        at, mask = bit // 8, 1 << bit % 8
        yield data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def signed_by(identity: Identity, data: bytes) -> bytes:
    signature: bytes = anyio.run(identity.sign, data)
    return signature


def sshsig(
    message: bytes,
    *,
    magic: bytes = b"SSHSIG",
    version: int = 1,
    key: bytes = ALICE.public_key.blob,
    namespace: bytes = NAMESPACE,
    reserved: bytes = b"",
    hash: str = "sha512",
    signature_type: bytes = b"ssh-ed25519",
    cut: int | None = None,
    after_signature: bytes = b"",
    after: bytes = b"",
) -> bytes:
    fields = string(namespace) + string(reserved) + string(hash.encode())
    signature = signed_by(ALICE, b"SSHSIG" + fields + string(hashlib.new(hash, message).digest()))
    signature_blob = string(signature_type) + string(signature[:cut]) + after_signature
    return magic + version.to_bytes(4, "big") + string(key) + fields + string(signature_blob) + after


def made(not_before: int = NOW, not_after: int = NOW + DAY, message_version: int = 1, **fields: Any) -> Certificate:
    """A certificate of ALICE for STATIC as a client, rightly signed over whatever is wrong with it."""
    times = not_before.to_bytes(8, "big") + not_after.to_bytes(8, "big")
    return Certificate(not_before, not_after, sshsig(bytes([message_version, Role.CLIENT]) + STATIC + times, **fields))


def received(value: object) -> Certificate:
    """What is made of an entry of a peer's payload."""
    table = {"certificate": Entry(dict, entries=CERTIFICATE)}
    return Certificate(**read(msgpack.packb({"certificate": value}), table)["certificate"])


GOOD = made()


@pytest.mark.anyio
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
async def test_certificate_says_whose_static_key_it_is(role: Role) -> None:
    certificate = await certify(ALICE, STATIC, role, NOW)
    assert (certificate.not_before, certificate.not_after) == (NOW - 300, NOW - 300 + DAY)
    assert received(certificate.to_map()) == certificate
    assert certificate.verify(STATIC, role, NOW) == ALICE.public_key


@pytest.mark.anyio
async def test_certificate_is_made_by_a_signer_that_waits() -> None:
    async def agent(data: bytes) -> bytes:
        await anyio.sleep(0)
        return await ALICE.sign(data)

    certificate = await certify(Identity(ALICE.public_key, agent), STATIC, Role.CLIENT, NOW)
    assert certificate.verify(STATIC, Role.CLIENT, NOW) == ALICE.public_key


def test_signed_message_is_the_50_bytes_of_the_protocol() -> None:
    certificate = Certificate(0x0102030405060708, 0x1112131415161718, b"")
    after_the_role = STATIC.hex() + "01020304050607081112131415161718"
    assert certificate.signed_message(STATIC, Role.CLIENT).hex() == "0100" + after_the_role
    assert certificate.signed_message(STATIC, Role.SERVER).hex() == "0101" + after_the_role


@pytest.mark.parametrize(("lifetime", "seconds"), [(3600, 3600), (DAY, DAY), (DAY + 1, DAY), (10 * DAY, DAY)])
def test_lifetime_of_a_certificate_is_at_most_a_day(lifetime: int, seconds: int) -> None:
    certificate = anyio.run(certify, ALICE, STATIC, Role.CLIENT, NOW, lifetime)
    assert certificate.not_after - certificate.not_before == seconds


@pytest.mark.parametrize("lifetime", [299, 0, -1])
def test_certificate_that_would_have_expired_is_not_made(lifetime: int) -> None:
    with pytest.raises(HandshakeError, match="expired"):
        anyio.run(certify, ALICE, STATIC, Role.CLIENT, NOW, lifetime)


@pytest.mark.parametrize("sign", [MALLORY.sign, lambda data: anyio.to_thread.run_sync(bytes, 63)])
def test_certificate_of_a_signer_with_another_key_is_not_made(sign: Any) -> None:
    with pytest.raises(HandshakeError, match="signature"):
        anyio.run(certify, Identity(ALICE.public_key, sign), STATIC, Role.CLIENT, NOW)


@pytest.mark.parametrize("static", [b"", STATIC[:31], STATIC + b"\0"])
def test_static_key_of_a_wrong_length_is_refused(static: bytes) -> None:
    with pytest.raises(HandshakeError, match="32 bytes"):
        anyio.run(certify, ALICE, static, Role.CLIENT, NOW)
    with pytest.raises(HandshakeError, match="32 bytes"):
        GOOD.verify(static, Role.CLIENT, NOW)


def test_certificate_made_by_hand_is_verified() -> None:
    assert GOOD.verify(STATIC, Role.CLIENT, NOW) == ALICE.public_key


@pytest.mark.parametrize("now", [NOW, NOW + 1, NOW + DAY])
def test_certificate_is_valid_from_its_first_second_to_its_last(now: int) -> None:
    assert GOOD.verify(STATIC, Role.CLIENT, now) == ALICE.public_key


@pytest.mark.parametrize(("now", "problem"), [(NOW - 1, "not valid yet"), (NOW + DAY + 1, "expired 1 s ago")])
def test_certificate_is_refused_outside_its_time(now: int, problem: str) -> None:
    with pytest.raises(HandshakeError, match=problem) as caught:
        GOOD.verify(STATIC, Role.CLIENT, now)
    assert caught.value.code == "clock"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"not_after": NOW + DAY + 1}, "more than a day"),
        ({"not_before": 0, "not_after": 2**64 - 1}, "more than a day"),
        ({"not_after": NOW - 1}, "expired"),
        ({"message_version": 0}, "is wrong"),
        ({"message_version": 2}, "is wrong"),
    ],
)
def test_rightly_signed_certificate_of_another_kind_is_refused(changes: dict[str, int], problem: str) -> None:
    with pytest.raises(HandshakeError, match=problem):
        made(**changes).verify(STATIC, Role.CLIENT, NOW)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"magic": b"SSHSIH"}, "not SSHSIG version 1"),
        ({"version": 0}, "not SSHSIG version 1"),
        ({"version": 2}, "not SSHSIG version 1"),
        ({"namespace": b"file"}, "another namespace"),
        ({"namespace": b"chanlink-static-v2"}, "another namespace"),
        ({"namespace": b""}, "another namespace"),
        ({"reserved": b"x"}, "reserved"),
        ({"hash": "sha256"}, "another hash"),
        ({"signature_type": b"ssh-rsa"}, "another type"),
        ({"cut": 63}, "64 bytes"),
        ({"cut": 0}, "64 bytes"),
        ({"after_signature": b"\0"}, "follows its end"),
        ({"after": b"\0"}, "follows its end"),
        ({"key": string(b"ssh-rsa") + string(ALICE.public_key.raw)}, "type 'ssh-rsa'"),
        ({"key": string(b"ssh-ed25519") + string(ALICE.public_key.raw[:31])}, "32 bytes"),
        ({"key": string(b"ssh-ed25519") + string(ALICE.public_key.raw + b"\0")}, "32 bytes"),
        ({"key": ALICE.public_key.blob + b"\0"}, "follows its end"),
        ({"key": b""}, "cut short"),
        ({"key": MALLORY.public_key.blob}, "is wrong"),
    ],
)
def test_rightly_signed_sshsig_of_another_kind_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(HandshakeError, match=problem):
        made(**fields).verify(STATIC, Role.CLIENT, NOW)


def test_certificate_is_for_one_role() -> None:
    with pytest.raises(HandshakeError, match="is wrong"):
        GOOD.verify(STATIC, Role.SERVER, NOW)


def test_certificate_is_for_one_static_key() -> None:
    for changed in flips(STATIC):
        with pytest.raises(HandshakeError, match="is wrong"):
            GOOD.verify(changed, Role.CLIENT, NOW)


def test_times_of_a_certificate_are_signed() -> None:
    for not_before, not_after in [(NOW - 1, NOW + DAY - 1), (NOW, NOW + DAY - 1), (NOW - 1, NOW), (NOW + 1, NOW + DAY)]:
        with pytest.raises(HandshakeError, match="is wrong"):
            Certificate(not_before, not_after, GOOD.sshsig).verify(STATIC, Role.CLIENT, not_after)


def test_certificate_with_any_bit_changed_does_not_verify() -> None:
    for changed in flips(GOOD.sshsig):
        with pytest.raises(HandshakeError):
            Certificate(NOW, NOW + DAY, changed).verify(STATIC, Role.CLIENT, NOW)


def test_certificate_cut_anywhere_does_not_verify() -> None:
    for length in range(len(GOOD.sshsig)):
        with pytest.raises(HandshakeError):
            Certificate(NOW, NOW + DAY, GOOD.sshsig[:length]).verify(STATIC, Role.CLIENT, NOW)


def test_unknown_entries_of_a_certificate_are_ignored() -> None:
    assert received(GOOD.to_map() | {"colour": "blue", "shape": None}) == GOOD


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("not_before", -1),
        ("not_before", True),
        ("not_before", float(NOW)),
        ("not_before", None),
        ("not_after", str(NOW)),
        ("not_after", False),
        ("sshsig", bytes(1025)),
        ("sshsig", "SSHSIG"),
        ("sshsig", [0] * 187),
        ("sshsig", None),
    ],
)
def test_certificate_with_an_entry_of_a_wrong_type_or_size_is_refused(entry: str, value: object) -> None:
    with pytest.raises(HandshakeError):
        received(GOOD.to_map() | {entry: value})


@pytest.mark.parametrize("entry", ["not_before", "not_after", "sshsig"])
def test_certificate_without_an_entry_is_refused(entry: str) -> None:
    entries = GOOD.to_map()
    del entries[entry]
    with pytest.raises(HandshakeError, match=entry):
        received(entries)


@pytest.mark.parametrize("value", [None, [], b"", 1, [NOW, NOW + DAY, b""]])
def test_certificate_that_is_no_map_is_refused(value: object) -> None:
    with pytest.raises(HandshakeError, match="certificate is no dict"):
        received(value)


def test_sshsig_of_the_largest_size_is_read_and_refused_as_what_it_is() -> None:
    with pytest.raises(HandshakeError, match="not SSHSIG"):
        received(GOOD.to_map() | {"sshsig": bytes(1024)}).verify(STATIC, Role.CLIENT, NOW)


# --- with OpenSSH -------------------------------------------------------------------------------


@needs_ssh_keygen
def test_certificate_is_verified_by_ssh_keygen(tmp_path: Path) -> None:
    certificate = anyio.run(certify, ALICE, STATIC, Role.SERVER, NOW)
    (tmp_path / "allowed_signers").write_text(f"alice {ALICE.public_key}\n")
    (tmp_path / "sig").write_text(armored(certificate))
    verify: list[str | Path] = [
        "-Y",
        "verify",
        "-f",
        tmp_path / "allowed_signers",
        "-I",
        "alice",
        "-s",
        tmp_path / "sig",
        "-n",
    ]
    message = certificate.signed_message(STATIC, Role.SERVER)
    assert ssh_keygen(*verify, "chanlink-static-v1", input=message).returncode == 0
    other_role = certificate.signed_message(STATIC, Role.CLIENT)
    assert ssh_keygen(*verify, "chanlink-static-v1", input=other_role, check=False).returncode != 0
    assert ssh_keygen(*verify, "file", input=message, check=False).returncode != 0


@needs_ssh_keygen
def test_certificate_signed_by_ssh_keygen_is_verified(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    message = Certificate(NOW, NOW + DAY, b"").signed_message(STATIC, Role.CLIENT)
    sign: list[str | Path] = ["-Y", "sign", "-f", tmp_path / "key", "-n", "chanlink-static-v1"]
    signed = ssh_keygen(*sign, input=message).stdout.decode()
    sshsig = base64.b64decode("".join(signed.splitlines()[1:-1]))
    certificate = Certificate(NOW, NOW + DAY, sshsig)
    assert certificate.verify(STATIC, Role.CLIENT, NOW) == ALICE.public_key
    assert armored(certificate) == signed
