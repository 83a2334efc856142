"""X25519 against public vectors, and against keys that are none."""

import pytest
from nacl.bindings import crypto_scalarmult_base

from chanlink.errors import HandshakeError, LocalProtocolError
from chanlink.security.noise.x25519 import FIELD_PRIME, KeyPair, check_public_key, dh, generate_keypair
from tests.security.vectors import LOW_ORDER, NOT_CANONICAL, encoded, load


def test_the_x25519_cases_of_wycheproof_pass_and_bad_points_are_refused() -> None:
    cases = [case for group in load("wycheproof/x25519_test.json")["testGroups"] for case in group["tests"]]
    refused = 0
    for case in cases:
        key_pair, public = KeyPair(bytes.fromhex(case["private"])), bytes.fromhex(case["public"])
        if {"ZeroSharedSecret", "NonCanonicalPublic"} & set(case["flags"]):
            refused += 1
            with pytest.raises(HandshakeError):
                dh(key_pair, public)
        else:
            assert dh(key_pair, public).hex() == case["shared"], case["tcId"]
    assert len(cases) == 518
    assert refused == 44


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_public_key_of_wrong_length_never_reaches_libsodium(length: int) -> None:
    with pytest.raises(HandshakeError):
        dh(generate_keypair(), bytes([9]) * length)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_private_key_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        KeyPair(bytes(length))


@pytest.mark.parametrize("number", NOT_CANONICAL)
def test_an_encoding_that_is_not_canonical_is_refused(number: int) -> None:
    with pytest.raises(HandshakeError):
        check_public_key(encoded(number))


@pytest.mark.parametrize("number", [2, 9, FIELD_PRIME - 2])
def test_a_canonical_encoding_is_returned_as_it_is(number: int) -> None:
    assert check_public_key(encoded(number)) == encoded(number)


@pytest.mark.parametrize("number", LOW_ORDER)
def test_a_point_of_low_order_gives_no_shared_secret(number: int) -> None:
    check_public_key(encoded(number))  # so that it is really the multiplication that refuses
    with pytest.raises(HandshakeError):
        dh(generate_keypair(), encoded(number))


def test_generated_key_pairs_differ_and_agree_on_a_secret() -> None:
    first, second = generate_keypair(), generate_keypair()
    assert first.private != second.private
    assert first.public == crypto_scalarmult_base(first.private)
    assert dh(first, second.public) == dh(second, first.public)


def test_the_private_half_of_a_key_pair_is_not_in_its_repr() -> None:
    key_pair = KeyPair(b"secret" + bytes(26))
    assert "secret" not in repr(key_pair) + str(key_pair)
