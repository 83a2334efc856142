"""Proofs are those of protocol section 3.7, each is of one handshake, one attempt and one count, and of one side."""

import hashlib
import hmac
from itertools import product

import pytest

from chanlink import HandshakeError
from chanlink.security.keys.certificate import Role
from chanlink.security.rekey import Secrets
from chanlink.security.resuming.proofs import RESUME_BYTES, Prover, Resume, secret_of

SECRET, SESSION, H = b"\1" * 32, b"\2" * 16, b"\3" * 32
PROVER = Prover(SECRET, SESSION, H)


def test_a_proof_is_what_the_protocol_says() -> None:
    said = b"\0" + H + SESSION + (7).to_bytes(8, "big") + (1_000).to_bytes(8, "big")
    assert PROVER.prove(Role.CLIENT, 7, 1_000) == hmac.new(SECRET, said, hashlib.blake2s).digest()
    assert PROVER.prove(Role.SERVER, 7, 1_000) == hmac.new(SECRET, b"\1" + said[1:], hashlib.blake2s).digest()


def test_the_secret_is_what_the_first_handshake_gives_for_a_label_that_no_application_has() -> None:
    secrets = Secrets(b"", b"", b"\4" * 32, H)
    assert secret_of(secrets.export) == secrets.export("chanlink resume v1", 32)


def test_a_proof_is_good_for_what_it_was_made_for_and_for_nothing_else() -> None:
    provers = [Prover(*made) for made in product([SECRET, b"x" * 32], [SESSION, b"y" * 16], [H, b"z" * 32])]
    ways = list(product(provers, Role, [0, 7, 2**64 - 1], [0, 1_000, 2**64 - 1]))
    proof = PROVER.prove(Role.CLIENT, 7, 1_000)
    good = [way for way in ways if way[0].is_proved(*way[1:], proof)]
    assert good == [(PROVER, Role.CLIENT, 7, 1_000)]
    assert not PROVER.is_proved(Role.CLIENT, 7, 1_000, b"")


def test_what_a_client_says_is_48_bytes_and_comes_out_as_it_went_in() -> None:
    resume = PROVER.resume(7, 2**64 - 1)
    assert len(resume.packed()) == RESUME_BYTES == 48
    assert resume.packed() == (7).to_bytes(8, "big") + b"\xff" * 8 + PROVER.prove(Role.CLIENT, 7, 2**64 - 1)
    assert Resume.read(resume.packed()) == resume


@pytest.mark.parametrize("length", [0, 47, 49, 65_518])
def test_another_length_is_an_error(length: int) -> None:
    with pytest.raises(HandshakeError, match=f"{length} bytes"):
        Resume.read(bytes(length))


def test_nothing_that_is_printed_shows_the_secret() -> None:
    assert repr(PROVER) == f"<Prover of {SESSION.hex()}>"
