"""chanlink.noise against public vectors, and against peers that do not keep to the protocol."""

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_aead_aegis256_encrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_scalarmult_base,
)

from chanlink.errors import HandshakeError, LocalProtocolError, RemoteProtocolError
from chanlink.security.noise import (
    AEGIS256,
    CHACHAPOLY,
    MAX_MESSAGE,
    MAX_NONCE,
    CipherState,
    HandshakeState,
    KeyPair,
    SymmetricState,
    check_public_key,
    dh,
    find_pattern,
    generate_keypair,
    hkdf,
    parse_protocol_name,
)

VECTORS = Path(os.environ.get("CHANLINK_VECTORS", Path(__file__).parents[4] / "shared" / "vectors"))

XX = "Noise_XX_25519_ChaChaPoly_BLAKE2s"
XXPSK0 = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s"
NN = "Noise_NN_25519_ChaChaPoly_BLAKE2s"
NK = "Noise_NK_25519_ChaChaPoly_BLAKE2s"

P = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]
NOT_CANONICAL = [P, P + 1, 2**255 - 1, 2**255 + 9, 2**256 - 1]


def load(name: str) -> Any:
    path = VECTORS / name
    if not path.is_file():
        pytest.skip(f"no test vectors: {path} is missing (CHANLINK_VECTORS names their folder)")
    return json.loads(path.read_text())


def encoded(number: int) -> bytes:
    return number.to_bytes(32, "little")


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def xx_pair(**both: Any) -> tuple[HandshakeState, HandshakeState]:
    """Both sides of an XX handshake whose keys are always the same, so that a failing test fails again."""
    keys = [KeyPair(bytes([number]) * 32) for number in (1, 2, 3, 4)]
    return (
        HandshakeState(XX, True, s=keys[0], e=keys[1], **both),
        HandshakeState(XX, False, s=keys[2], e=keys[3], **both),
    )


def nn_pair() -> tuple[HandshakeState, HandshakeState]:
    return HandshakeState(NN, True), HandshakeState(NN, False)


def shake_hands(
    initiator: HandshakeState,
    responder: HandshakeState,
    change: Callable[[int, bytes], bytes] = lambda index, message: message,
) -> None:
    """Pass all messages, with payloads; ``change`` is the wire."""
    writer, reader = initiator, responder
    index = 0
    while not writer.finished:
        payload = b"payload %d" % index
        assert reader.read_message(change(index, writer.write_message(payload))) == payload
        writer, reader = reader, writer
        index += 1


def assert_dead(handshake: HandshakeState) -> None:
    """No call is taken any more, and there are no keys."""
    assert not handshake.our_turn
    for call in (handshake.write_message, lambda: handshake.read_message(bytes(96)), handshake.split):
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(LocalProtocolError):
        _ = handshake.exporter_secret


# --- public vectors ---------------------------------------------------------------------------------


def side_of(vector: dict[str, Any], side: str) -> HandshakeState:
    def read(field: str) -> bytes | None:
        text = vector.get(f"{side}_{field}")
        return bytes.fromhex(text) if text else None

    static, ephemeral = read("static"), read("ephemeral")
    return HandshakeState(
        vector["protocol_name"],
        side == "init",
        prologue=read("prologue") or b"",
        s=KeyPair(static) if static else None,
        e=KeyPair(ephemeral) if ephemeral else None,
        rs=read("remote_static"),
        psks=[bytes.fromhex(psk) for psk in vector.get(f"{side}_psks", ())],
    )


def senders(vector: dict[str, Any], messages_of_handshake: int) -> Iterator[bool]:
    """For each message, whether the initiator sends it.  One convention of these files has no ``sender``."""
    for index, message in enumerate(vector["messages"]):
        if "sender" in message:
            yield message["sender"] == "init"
        else:
            yield messages_of_handshake == 1 or index % 2 == 0


def run_vector(vector: dict[str, Any]) -> int:
    """Run both sides through all messages; return how many were transport messages."""
    initiator, responder = side_of(vector, "init"), side_of(vector, "resp")
    length = len(parse_protocol_name(vector["protocol_name"]).pattern.messages)
    steps = list(zip(senders(vector, length), vector["messages"], strict=True))
    for from_initiator, message in steps[:length]:
        writer, reader = (initiator, responder) if from_initiator else (responder, initiator)
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert writer.write_message(payload) == ciphertext
        assert reader.read_message(ciphertext) == payload

    assert initiator.finished
    assert responder.finished
    assert initiator.handshake_hash == responder.handshake_hash
    if "handshake_hash" in vector:
        assert initiator.handshake_hash.hex() == vector["handshake_hash"]

    ours, theirs = initiator.split(), responder.split()
    assert initiator.exporter_secret == responder.exporter_secret
    for from_initiator, message in steps[length:]:
        # A one-way vector still has its second transport message under the second key.
        direction = 0 if from_initiator else 1
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert ours[direction].encrypt_with_ad(b"", payload) == ciphertext
        assert theirs[direction].decrypt_with_ad(b"", ciphertext) == payload
    return len(steps) - length


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("noise/cacophony_25519_chachapoly.json", 236),
        ("noise/snow_25519_chachapoly.json", 204),
        ("noise/flynn_25519_chachapoly.json", 720),
    ],
)
def test_every_noise_vector_passes_on_both_sides(file: str, count: int) -> None:
    vectors = load(file)["vectors"]
    transport_messages = 0
    for index, vector in enumerate(vectors):
        try:
            transport_messages += run_vector(vector)
        except Exception as exc:
            pytest.fail(f"vector {index}, {vector['protocol_name']}: {exc!r}")
    assert len(vectors) == count
    assert transport_messages >= count


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


def test_the_chacha20_poly1305_cases_of_wycheproof_pass() -> None:
    cases = [case for group in load("wycheproof/chacha20_poly1305_test.json")["testGroups"] for case in group["tests"]]
    cases = [case for case in cases if "InvalidNonceSize" not in case["flags"]]  # our nonces have one size
    for case in cases:
        key, iv, aad, message, ciphertext, tag = (
            bytes.fromhex(case[field]) for field in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        cipher = CHACHAPOLY._replace(nonce=lambda counter, iv=iv: iv)
        sealed = CipherState(key, cipher=cipher).encrypt_with_ad(aad, message)
        opener = CipherState(key, cipher=cipher)
        if case["result"] == "valid":
            assert sealed == ciphertext + tag, case["tcId"]
            assert opener.decrypt_with_ad(aad, ciphertext + tag) == message
        else:
            assert sealed != ciphertext + tag, case["tcId"]
            with pytest.raises(RemoteProtocolError):
                opener.decrypt_with_ad(aad, ciphertext + tag)
    assert len(cases) == 316


# --- keys -------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("number", [2, 9, P - 2])
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


# --- CipherState ------------------------------------------------------------------------------------


def test_a_cipher_state_without_key_passes_everything_unchanged() -> None:
    state = CipherState()
    assert not state.has_key()
    assert state.encrypt_with_ad(b"ad", b"text") == b"text"
    assert state.decrypt_with_ad(b"ad", b"text") == b"text"
    assert state.n == 0
    with pytest.raises(LocalProtocolError):
        state.rekey()


def test_a_new_key_starts_the_counter_again() -> None:
    state = CipherState(bytes(32))
    state.encrypt_with_ad(b"", b"")
    assert state.n == 1
    state.initialize_key(bytes(32))
    assert state.has_key()
    assert state.n == 0


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_cipher_key_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        CipherState(bytes(length))


def test_the_nonce_is_four_zero_bytes_and_the_counter_in_little_endian() -> None:
    state = CipherState(bytes(range(32)))
    state.n = 0x0102030405060708
    nonce = bytes.fromhex("00000000 0807060504030201")
    expected = crypto_aead_chacha20poly1305_ietf_encrypt(b"text", b"ad", nonce, bytes(range(32)))
    assert state.encrypt_with_ad(b"ad", b"text") == expected


def test_the_aegis_nonce_is_24_zero_bytes_and_the_counter_in_little_endian() -> None:
    state = CipherState(bytes(range(32)), cipher=AEGIS256)
    state.n = 0x0102030405060708
    nonce = bytes(24) + bytes.fromhex("0807060504030201")
    assert state.encrypt_with_ad(b"ad", b"text") == crypto_aead_aegis256_encrypt(
        b"text", b"ad", nonce, bytes(range(32))
    )


def test_rekey_gives_the_known_answer_and_goes_on_counting() -> None:
    state = CipherState(bytes(range(32)))
    state.encrypt_with_ad(b"", b"")
    state.rekey()
    assert state.k is not None
    assert state.k.hex() == "50835543a205b22c9323f2022bc4f67d838f90e61d5ccf33c4513e01f85b5042"
    assert state.n == 1


def test_rekey_of_aegis_takes_the_first_32_bytes_under_the_reserved_nonce() -> None:
    state = CipherState(bytes(range(32)), cipher=AEGIS256)
    state.rekey()
    sealed = crypto_aead_aegis256_encrypt(bytes(32), b"", bytes(24) + b"\xff" * 8, bytes(range(32)))
    assert state.k == sealed[:32]


@pytest.mark.parametrize("cipher", [CHACHAPOLY, AEGIS256])
def test_two_sides_that_rekey_at_the_same_message_understand_each_other(cipher: Any) -> None:
    sending, receiving = CipherState(bytes(32), cipher=cipher), CipherState(bytes(32), cipher=cipher)
    for number in range(4):
        text = b"%d" % number
        assert receiving.decrypt_with_ad(b"", sending.encrypt_with_ad(b"", text)) == text
        sending.rekey()
        if number < 3:
            receiving.rekey()
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt_with_ad(b"", sending.encrypt_with_ad(b"", b"under the next key"))


def test_the_last_nonce_is_used_and_the_reserved_one_never() -> None:
    sending, receiving = CipherState(bytes(32)), CipherState(bytes(32))
    sending.n = receiving.n = MAX_NONCE - 1
    assert receiving.decrypt_with_ad(b"", sending.encrypt_with_ad(b"", b"last")) == b"last"
    beyond = crypto_aead_chacha20poly1305_ietf_encrypt(b"", b"", bytes(4) + b"\xff" * 8, bytes(32))
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            sending.encrypt_with_ad(b"", b"")
        with pytest.raises(LocalProtocolError):
            receiving.decrypt_with_ad(b"", beyond)
    assert sending.n == receiving.n == MAX_NONCE
    sending.rekey()  # a new key does not give back nonces
    with pytest.raises(LocalProtocolError):
        sending.encrypt_with_ad(b"", b"")


@pytest.mark.parametrize("cipher", [CHACHAPOLY, AEGIS256])
def test_a_record_changed_anywhere_or_cut_anywhere_fails_and_the_right_one_still_opens(cipher: Any) -> None:
    record = CipherState(bytes(32), cipher=cipher).encrypt_with_ad(b"ad", b"text")
    receiving = CipherState(bytes(32), cipher=cipher)
    wrong = [flip(record, position) for position in range(len(record))]
    wrong += [record[:length] for length in range(len(record))]
    wrong += [record + b"\0", bytes(MAX_MESSAGE), bytes(MAX_MESSAGE + 1)]
    for changed in wrong:
        with pytest.raises(RemoteProtocolError, match="a record failed authentication"):
            receiving.decrypt_with_ad(b"ad", changed)
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt_with_ad(b"other", record)
    assert receiving.n == 0
    assert receiving.decrypt_with_ad(b"ad", record) == b"text"


def test_a_record_that_is_repeated_or_out_of_order_fails() -> None:
    sending, receiving = CipherState(bytes(32)), CipherState(bytes(32))
    first, second, third = (sending.encrypt_with_ad(b"", b"same") for _ in range(3))
    assert len({first, second, third}) == 3
    assert receiving.decrypt_with_ad(b"", first) == b"same"
    for wrong in (first, third):
        with pytest.raises(RemoteProtocolError):
            receiving.decrypt_with_ad(b"", wrong)
    assert receiving.decrypt_with_ad(b"", second) == b"same"


@pytest.mark.parametrize("cipher", [CHACHAPOLY, AEGIS256])
def test_the_longest_record_passes_and_one_byte_more_is_refused_on_both_sides(cipher: Any) -> None:
    longest = MAX_MESSAGE - cipher.tag_length
    sending, receiving = CipherState(bytes(32), cipher=cipher), CipherState(bytes(32), cipher=cipher)
    with pytest.raises(LocalProtocolError):
        sending.encrypt_with_ad(b"", bytes(longest + 1))
    assert sending.n == 0
    too_long = cipher.encrypt(bytes(longest + 1), b"", cipher.nonce(0), bytes(32))
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt_with_ad(b"", too_long)
    record = sending.encrypt_with_ad(b"", bytes(longest))
    assert len(record) == MAX_MESSAGE
    assert receiving.decrypt_with_ad(b"", record) == bytes(longest)


def test_a_bytearray_is_our_fault_and_not_the_peers() -> None:
    with pytest.raises(LocalProtocolError):
        CipherState(bytes(32)).encrypt_with_ad(b"", bytearray(20))
    with pytest.raises(LocalProtocolError):
        CipherState(bytes(32)).decrypt_with_ad(b"", bytearray(20))


# --- SymmetricState ---------------------------------------------------------------------------------


def test_split_gives_three_outputs_of_one_hkdf() -> None:
    state = SymmetricState(parse_protocol_name(NN))
    chaining_key = state.get_handshake_hash()  # the two are equal until something is mixed in
    temp = hmac.digest(chaining_key, b"", "blake2s")
    first = hmac.digest(temp, b"\1", "blake2s")
    second = hmac.digest(temp, first + b"\2", "blake2s")
    third = hmac.digest(temp, second + b"\3", "blake2s")
    sending, receiving = state.split()
    assert (sending.k, receiving.k, state.exporter_secret) == (first, second, third)
    assert hkdf("blake2s", chaining_key, b"", 3) == [first, second, third]


def test_a_name_as_long_as_the_hash_is_padded_and_a_longer_one_is_hashed() -> None:
    short = "Noise_X_25519_ChaChaPoly_BLAKE2s"
    assert len(short) == 32
    assert SymmetricState(parse_protocol_name(short)).get_handshake_hash() == short.encode()
    assert SymmetricState(parse_protocol_name(XX)).get_handshake_hash() == hashlib.blake2s(XX.encode()).digest()
    wide = "Noise_N_25519_ChaChaPoly_SHA512"
    assert SymmetricState(parse_protocol_name(wide)).get_handshake_hash() == wide.encode().ljust(64, b"\0")


def test_the_keys_of_a_split_state_can_not_be_derived_from_it_again() -> None:
    state = SymmetricState(parse_protocol_name(NN))
    keys, again = [{cipher.k for cipher in state.split()} for _ in range(2)]
    assert not keys & again


# --- names and patterns -----------------------------------------------------------------------------


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


# --- HandshakeState: what must be given -------------------------------------------------------------


def test_the_keys_of_a_pattern_must_be_given_and_no_others() -> None:
    static, public = generate_keypair(), generate_keypair().public
    for arguments in (
        {"protocol_name": XX},
        {"protocol_name": XX, "s": static, "rs": public},
        {"protocol_name": XX, "s": static, "psks": [bytes(32)]},
        {"protocol_name": XXPSK0, "s": static},
        {"protocol_name": XXPSK0, "s": static, "psks": [bytes(31)]},
        {"protocol_name": XXPSK0, "s": static, "psks": [bytes(32), bytes(32)]},
        {"protocol_name": NN, "s": static},
        {"protocol_name": NK},
        {"protocol_name": NK, "rs": public, "s": static},
    ):
        with pytest.raises(LocalProtocolError):
            HandshakeState(initiator=True, **arguments)
    with pytest.raises(LocalProtocolError):
        HandshakeState(NK, False)


@pytest.mark.parametrize("public", [bytes(31), bytes(33), *(encoded(number) for number in NOT_CANONICAL)])
def test_a_known_static_that_is_no_key_is_refused_at_once(public: bytes) -> None:
    with pytest.raises(HandshakeError):
        HandshakeState(NK, True, rs=public)


# --- HandshakeState: the ordinary course ------------------------------------------------------------


def test_xx_ends_with_the_same_secrets_and_the_other_sides_key() -> None:
    initiator, responder = xx_pair()
    shake_hands(initiator, responder)
    first, second = initiator.split(), responder.split()
    assert [state.k for state in first] == [state.k for state in second]
    assert initiator.handshake_hash == responder.handshake_hash
    assert initiator.exporter_secret == responder.exporter_secret
    assert len({first[0].k, first[1].k, initiator.exporter_secret, initiator.handshake_hash}) == 4
    assert initiator.rs == KeyPair(bytes([3]) * 32).public
    assert responder.rs == KeyPair(bytes([1]) * 32).public


def test_a_split_handshake_holds_no_private_key_any_more() -> None:
    initiator, responder = xx_pair()
    shake_hands(initiator, responder)
    for handshake in (initiator, responder):
        assert any(isinstance(value, KeyPair) for value in vars(handshake).values())
        handshake.split()
        assert not any(isinstance(value, KeyPair) for value in vars(handshake).values())


def test_ephemeral_keys_are_fresh_when_they_are_not_given() -> None:
    first, second = nn_pair(), nn_pair()
    assert first[0].write_message() != second[0].write_message()
    shake_hands(*(pair := nn_pair()))
    shake_hands(*(other := nn_pair()))
    assert pair[0].handshake_hash != other[0].handshake_hash


def test_the_turn_goes_back_and_forth_until_the_handshake_is_finished() -> None:
    initiator, responder = xx_pair()
    turns = []
    writer, reader = initiator, responder
    while not writer.finished:
        turns.append((initiator.our_turn, responder.our_turn))
        reader.read_message(writer.write_message())
        writer, reader = reader, writer
    assert turns == [(True, False), (False, True), (True, False)]
    assert (initiator.our_turn, responder.our_turn) == (False, False)


def test_the_longest_handshake_message_passes() -> None:
    initiator, responder = nn_pair()
    payload = bytes(MAX_MESSAGE - 32)
    assert responder.read_message(initiator.write_message(payload)) == payload
    payload = bytes(MAX_MESSAGE - 32 - 16)
    assert initiator.read_message(responder.write_message(payload)) == payload


# --- HandshakeState: calls out of turn --------------------------------------------------------------


def test_a_call_out_of_turn_is_refused_and_changes_nothing() -> None:
    initiator, responder = xx_pair()
    with pytest.raises(LocalProtocolError):
        initiator.read_message(bytes(32))
    with pytest.raises(LocalProtocolError):
        responder.write_message()
    first = initiator.write_message()
    with pytest.raises(LocalProtocolError):
        initiator.write_message()
    for handshake in (initiator, responder):
        with pytest.raises(LocalProtocolError):
            handshake.split()
        with pytest.raises(LocalProtocolError):
            _ = handshake.handshake_hash
        with pytest.raises(LocalProtocolError):
            _ = handshake.exporter_secret
        with pytest.raises(LocalProtocolError):
            _ = handshake.rs
    responder.read_message(first)
    with pytest.raises(LocalProtocolError):
        responder.read_message(first)
    initiator.read_message(responder.write_message())
    responder.read_message(initiator.write_message())
    initiator.split()
    responder.split()
    assert initiator.exporter_secret == responder.exporter_secret


def test_a_finished_handshake_takes_no_more_messages_and_splits_once() -> None:
    initiator, responder = xx_pair()
    shake_hands(initiator, responder)
    for handshake in (initiator, responder):
        with pytest.raises(LocalProtocolError):
            handshake.write_message()
        with pytest.raises(LocalProtocolError):
            handshake.read_message(bytes(64))
        with pytest.raises(LocalProtocolError):
            _ = handshake.exporter_secret
        handshake.split()
        for call in (handshake.write_message, lambda h=handshake: h.read_message(bytes(64)), handshake.split):
            with pytest.raises(LocalProtocolError):
                call()
    assert initiator.handshake_hash == responder.handshake_hash


# --- HandshakeState: a hostile wire or peer ---------------------------------------------------------

XX_LENGTHS = [32 + 9, 32 + 48 + 9 + 16, 48 + 9 + 16]


def test_the_messages_of_xx_have_the_lengths_that_these_tests_go_through() -> None:
    lengths = []

    def wire(index: int, message: bytes) -> bytes:
        lengths.append(len(message))
        return message

    shake_hands(*xx_pair(), wire)
    assert lengths == XX_LENGTHS


def test_xx_fails_whichever_byte_of_whichever_message_is_changed() -> None:
    for changed, length in enumerate(XX_LENGTHS):
        for position in range(length):
            bit = position % 8

            def wire(index: int, message: bytes, changed: int = changed, at: int = position, bit: int = bit) -> bytes:
                return flip(message, at, bit) if index == changed else message

            assert_handshake_fails(wire, changed)


def test_xx_fails_at_whichever_length_a_message_is_cut() -> None:
    for changed, length in enumerate(XX_LENGTHS):
        for cut in range(length):

            def wire(index: int, message: bytes, changed: int = changed, cut: int = cut) -> bytes:
                return message[:cut] if index == changed else message

            assert_handshake_fails(wire, changed)


def test_xx_fails_when_a_byte_is_added_to_a_message() -> None:
    for changed in range(3):

        def wire(index: int, message: bytes, changed: int = changed) -> bytes:
            return message + b"\0" if index == changed else message

        assert_handshake_fails(wire, changed)


def assert_handshake_fails(wire: Callable[[int, bytes], bytes], changed: int) -> None:
    """The first message of XX is in the clear: a change in it is found by the second one at the latest."""
    initiator, responder = xx_pair()
    messages = [initiator.write_message(b"payload 0")]
    readers = [responder, initiator, responder]
    for index, reader in enumerate(readers):
        try:
            reader.read_message(wire(index, messages[-1]))
        except HandshakeError:
            assert index in ((0, 1) if changed == 0 else (changed,))
            assert_dead(reader)
            return
        if reader.our_turn:
            messages.append(reader.write_message(b"payload %d" % (index + 1)))
    pytest.fail("a changed message was not found")


def test_a_reflected_or_repeated_message_fails() -> None:
    initiator, _ = xx_pair()
    with pytest.raises(HandshakeError):
        initiator.read_message(initiator.write_message(bytes(100)))
    assert_dead(initiator)

    initiator, responder = xx_pair()
    responder.read_message(first := initiator.write_message(bytes(100)))
    initiator.read_message(responder.write_message())
    with pytest.raises(HandshakeError):
        responder.read_message(first)
    assert_dead(responder)


def test_a_handshake_message_that_is_too_long_fails() -> None:
    _, responder = nn_pair()
    with pytest.raises(HandshakeError):
        responder.read_message(generate_keypair().public + bytes(MAX_MESSAGE - 31))
    assert_dead(responder)


@pytest.mark.parametrize("length", [MAX_MESSAGE - 31, MAX_MESSAGE, 2 * MAX_MESSAGE])
def test_a_payload_that_is_too_long_is_refused(length: int) -> None:
    initiator, _ = nn_pair()
    with pytest.raises(LocalProtocolError):
        initiator.write_message(bytes(length))
    assert_dead(initiator)


@pytest.mark.parametrize("number", NOT_CANONICAL)
def test_an_ephemeral_that_is_not_canonical_fails_where_it_arrives(number: int) -> None:
    _, responder = xx_pair()
    with pytest.raises(HandshakeError):
        responder.read_message(encoded(number))
    assert_dead(responder)


@pytest.mark.parametrize("number", LOW_ORDER)
def test_an_ephemeral_of_low_order_fails_the_handshake_on_both_sides(number: int) -> None:
    initiator, responder = xx_pair()
    responder.read_message(encoded(number))  # nothing is computed with it yet
    with pytest.raises(HandshakeError):
        responder.write_message()
    assert_dead(responder)
    initiator.write_message()
    with pytest.raises(HandshakeError):
        initiator.read_message(encoded(number) + bytes(64))
    assert_dead(initiator)


@pytest.mark.parametrize("number", LOW_ORDER + NOT_CANONICAL)
def test_a_static_that_is_of_low_order_or_not_canonical_fails_though_it_is_well_encrypted(number: int) -> None:
    static = generate_keypair()
    static.public = encoded(number)  # a peer that lies about its key
    initiator, responder = HandshakeState(XX, True, s=static), HandshakeState(XX, False, s=generate_keypair())
    responder.read_message(initiator.write_message())
    initiator.read_message(responder.write_message())
    with pytest.raises(HandshakeError, match="a public key is not valid"):
        responder.read_message(initiator.write_message())
    assert_dead(responder)


@pytest.mark.parametrize("number", NOT_CANONICAL)
def test_a_static_that_is_not_canonical_fails_where_it_arrives(number: int) -> None:
    static = generate_keypair()
    static.public = encoded(number)
    name = "Noise_NX1_25519_ChaChaPoly_BLAKE2s"  # computes with the static one message later
    initiator, responder = HandshakeState(name, True), HandshakeState(name, False, s=static)
    responder.read_message(initiator.write_message())
    with pytest.raises(HandshakeError):
        initiator.read_message(responder.write_message())
    assert_dead(initiator)


def test_sides_with_different_prologues_fail() -> None:
    initiator, _ = xx_pair(prologue=b"one")
    _, responder = xx_pair(prologue=b"two")
    with pytest.raises(HandshakeError):
        shake_hands(initiator, responder)


def test_a_wrong_psk_fails_at_the_first_message_and_the_server_answers_nothing() -> None:
    initiator = HandshakeState(XXPSK0, True, s=generate_keypair(), psks=[bytes(32)])
    responder = HandshakeState(XXPSK0, False, s=generate_keypair(), psks=[b"\1" + bytes(31)])
    with pytest.raises(HandshakeError):
        responder.read_message(initiator.write_message())
    assert_dead(responder)


def test_the_order_of_psks_matters() -> None:
    name, psks = "Noise_NNpsk0+psk2_25519_ChaChaPoly_BLAKE2s", [bytes(32), b"\1" * 32]
    shake_hands(HandshakeState(name, True, psks=psks), HandshakeState(name, False, psks=psks))
    with pytest.raises(HandshakeError):
        shake_hands(HandshakeState(name, True, psks=psks), HandshakeState(name, False, psks=psks[::-1]))


def test_a_server_without_the_pinned_static_key_fails() -> None:
    initiator = HandshakeState(NK, True, rs=generate_keypair().public)
    responder = HandshakeState(NK, False, s=generate_keypair())
    with pytest.raises(HandshakeError):
        responder.read_message(initiator.write_message())


def test_errors_about_messages_say_nothing_of_what_was_in_them() -> None:
    initiator, responder = xx_pair()
    responder.read_message(initiator.write_message())
    message = responder.write_message(b"payload")
    with pytest.raises(HandshakeError) as caught:
        initiator.read_message(flip(message, 40))
    assert str(caught.value) == "a handshake message failed authentication"


@given(message=st.binary(max_size=200), index=st.integers(0, 2))
def test_no_other_error_than_ours_comes_of_random_bytes(message: bytes, index: int) -> None:
    initiator, responder = xx_pair()
    writer, reader = initiator, responder
    for _ in range(index):
        reader.read_message(writer.write_message())
        writer, reader = reader, writer
    writer.write_message()
    try:
        reader.read_message(message)
    except HandshakeError:
        assert_dead(reader)
    else:
        assert index == 0  # only the first message is in the clear
        assert len(message) >= 32
