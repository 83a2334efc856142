"""The names of protocols and patterns."""

import pytest

from chanlink.errors import LocalProtocolError
from chanlink.security.noise.patterns import PATTERNS, find_pattern, parse_protocol_name
from chanlink.security.noise.state import SymmetricState


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Noise",
        "Noise_XX_25519_ChaChaPoly",
        "Noise_XX_25519_ChaChaPoly_BLAKE2s_",
        "noise_XX_25519_ChaChaPoly_BLAKE2s",
        "Noise_XX_448_ChaChaPoly_BLAKE2s",
        "Noise_XX_25519_AESGCM_BLAKE2s",
        "Noise_XX_25519_ChaChaPoly_MD5",
        "Noise_XX_25519_ChaChaPoly_blake2s",
        "Noise_ZZ_25519_ChaChaPoly_BLAKE2s",
        "Noise_XXfallback_25519_ChaChaPoly_BLAKE2s",
        "Noise_XXpsk4_25519_ChaChaPoly_BLAKE2s",
        "Noise_XXpsk_25519_ChaChaPoly_BLAKE2s",
        "Noise_XXpsk0psk1_25519_ChaChaPoly_BLAKE2s",
        "Noise_XXpsk0+_25519_ChaChaPoly_BLAKE2s",
        "Noise_XX+psk0_25519_ChaChaPoly_BLAKE2s",
        "Noise_XXpsk1+psk1_25519_ChaChaPoly_BLAKE2s",
        "Noise_Npsk2_25519_ChaChaPoly_BLAKE2s",
    ],
)
def test_a_protocol_name_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        SymmetricState(parse_protocol_name(name))


def test_psk_modifiers_stand_where_the_specification_puts_them() -> None:
    assert find_pattern("XXpsk0+psk3").messages == (
        ("psk", "e"),
        ("e", "ee", "s", "es"),
        ("s", "se", "psk"),
    )
    assert find_pattern("XXpsk1").messages[0] == ("e", "psk")
    assert find_pattern("XX").psk_count == 0
    assert find_pattern("XXpsk0+psk3").psk_count == 2


def test_a_name_is_taken_apart() -> None:
    name = parse_protocol_name("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    assert (name.dh, name.cipher, name.hash) == ("25519", "ChaChaPoly", "BLAKE2s")
    assert name.pattern == find_pattern("IKpsk2")
    assert (name.pattern.initiator_known, name.pattern.responder_known) == (False, True)


def test_a_side_needs_a_static_key_where_it_is_known_or_sent() -> None:
    needs = {name: tuple(find_pattern(name).needs_static(side) for side in (True, False)) for name in PATTERNS}
    assert [name for name in needs if needs[name] == (False, False)] == ["NN"]
    assert needs["NK"] == needs["N"] == (False, True)
    assert needs["KN"] == needs["XN"] == needs["IN"] == (True, False)
    assert needs["XX"] == needs["IK"] == (True, True)


@pytest.mark.parametrize("name", PATTERNS)
def test_each_static_key_is_sent_or_known_but_not_both(name: str) -> None:
    pattern = PATTERNS[name]
    for initiator, known in ((True, pattern.initiator_known), (False, pattern.responder_known)):
        sent = sum(message.count("s") for message in pattern.messages[0 if initiator else 1 :: 2])
        assert sent + known <= 1
        assert pattern.needs_static(initiator) == bool(sent + known)
