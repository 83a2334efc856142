"""Handshakes against public vectors, and against peers that do not keep to the protocol."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.errors import HandshakeError, LocalProtocolError
from chanlink.security.noise.cipher import MAX_MESSAGE
from chanlink.security.noise.patterns import parse_protocol_name
from chanlink.security.noise.state import HandshakeState, SymmetricState, hkdf
from chanlink.security.noise.x25519 import KeyPair, generate_keypair
from tests.security.vectors import LOW_ORDER, NOT_CANONICAL, encoded, flip, load

XX = "Noise_XX_25519_ChaChaPoly_BLAKE2s"
XXPSK0 = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s"
NN = "Noise_NN_25519_ChaChaPoly_BLAKE2s"
NK = "Noise_NK_25519_ChaChaPoly_BLAKE2s"


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
    """For each message, whether the initiator sends it. One convention of these files has no ``sender``."""
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
    writer, reader = initiator, responder = xx_pair()
    for _ in range(3):
        with pytest.raises(LocalProtocolError, match="the next message is ours"):
            writer.read_message(bytes(96))
        with pytest.raises(LocalProtocolError, match="the next message is theirs"):
            reader.write_message()
        reader.read_message(writer.write_message())
        writer, reader = reader, writer
    for side in (initiator, responder):
        assert side.finished
        for call in (side.write_message, lambda side=side: side.read_message(bytes(96))):
            with pytest.raises(LocalProtocolError, match="the handshake is over"):
                call()


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
        if not reader.finished:
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
