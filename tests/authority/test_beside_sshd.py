"""The same credentials, revocation lists and addresses before a real sshd and before us: the same verdict."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from chanlink import ChanlinkError, Trust
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.krl import Krl
from chanlink.security.keys.openssh import PublicKey, pack_string, parse_private_key
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.revocations import Revocations

from .cases import CASES, Case, by_name
from .making import PRINCIPALS, Authorities, make
from .sshd import Sshd, Verdict, has_ipv6, needs_sshd, serving

pytestmark = [needs_sshd, pytest.mark.slow]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """It believes the authorities whose keys are in its folder, but for the stranger's."""
    folder = tmp_path_factory.mktemp("sshd")
    made = Authorities(folder)
    authorities = "".join(made.key(name).with_suffix(".pub").read_text() for name in ("org", "rsa", "ecdsa"))
    with serving(made, authorities, "".join(f"{name}\n" for name in PRINCIPALS)) as server:
        yield server


@pytest.fixture
def key(sshd: Sshd, tmp_path: Path) -> Path:
    """Where a client's key and the credential beside it are made."""
    sshd.authorities.revoked.write_bytes(b"")
    return tmp_path / "key"


def why_not(case: Case, sshd: Sshd, key: Path) -> str:
    """Why we refuse the client; empty if we do not."""
    try:
        credential = Credential.load(key.with_name("key-cert.pub"))
        presented = Presented(PublicKey.load(key.with_name("key.pub")), credential, None, case.host)
        Trust.load(sshd.authorities.trust()).admit(
            presented, int(time.time()), Revocations(Krl.load(sshd.authorities.revoked))
        )
    except ChanlinkError as exc:
        return str(exc)
    return ""


def judged(case: Case, sshd: Sshd, key: Path) -> Verdict:
    """By sshd: the client signs by its key, whatever the credential says."""
    kind, encoded, *_ = key.with_name("key-cert.pub").read_text().split()

    seed, _ = parse_private_key(key.read_bytes())
    _, secret = crypto_sign_seed_keypair(seed)

    def sign(data: bytes) -> bytes:
        return pack_string(b"ssh-ed25519") + pack_string(crypto_sign(data, secret)[:64])

    return sshd.judge(kind, base64.b64decode(encoded), sign, case.host)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(case: Case, sshd: Sshd, key: Path) -> None:
    if case.host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    make(case, sshd.authorities, key)
    theirs, ours = judged(case, sshd, key), why_not(case, sshd, key)
    assert theirs.admitted is case.admitted, theirs.why
    assert bool(ours) is (not case.admitted or case.stricter), ours
    assert re.search(case.ours, ours), ours
    assert ("Accepted publickey" if case.admitted else case.why) in theirs.why, theirs.why


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_key_of_another_type_is_none_to_us(kind: str, sshd: Sshd, key: Path) -> None:
    make(Case("", key=kind), sshd.authorities, key)
    assert sshd.run(key, "127.0.0.1", "echo in") == "in\n"
    assert "only ssh-ed25519-cert-v01@openssh.com is used" in why_not(Case(""), sshd, key)


def test_there_are_cases_enough_each_with_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 60


@pytest.mark.parametrize("name", ["good", "with a forced command"])
def test_the_command_that_is_forced_is_the_same(name: str, sshd: Sshd, key: Path) -> None:
    make(by_name(name), sshd.authorities, key)
    command = Credential.load(key.with_name("key-cert.pub")).force_command
    assert sshd.run(key, "127.0.0.1", "echo in") == ("in\n" if command is None else "forced\n")


@pytest.mark.parametrize("name", ["good", "with no terminal", "with no forwarding", "with nothing"])
def test_terminals_and_forwarding_are_allowed_to_the_same(name: str, sshd: Sshd, key: Path) -> None:
    make(by_name(name), sshd.authorities, key)
    credential = Credential.load(key.with_name("key-cert.pub"))
    terminal = sshd.run(key, "-tt", "127.0.0.1", "tty").startswith("/dev/")
    forwarded = sshd.run(key, "-W", f"127.0.0.1:{sshd.port}", "127.0.0.1").startswith("SSH-2.0")
    assert (terminal, forwarded) == (credential.permits_terminals, credential.permits_forwarding)
