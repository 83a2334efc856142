"""One direction of messages under one key: against public vectors, and against messages that are not the next one."""

from typing import Any

import pytest
from nacl.bindings import crypto_aead_aegis256_encrypt, crypto_aead_chacha20poly1305_ietf_encrypt

from chanlink.errors import LocalProtocolError, RemoteProtocolError
from chanlink.security.noise.cipher import AEGIS256, CHACHAPOLY, MAX_MESSAGE, MAX_NONCE, CipherState
from tests.security.vectors import flip, load


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
