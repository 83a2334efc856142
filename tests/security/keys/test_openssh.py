"""OpenSSH's formats: public keys, private key files, signatures."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chanlink.errors import KeyFormatError
from chanlink.security.keys.openssh import PublicKey, format_private_key, parse_private_key
from chanlink.security.noise.x25519 import FIELD_PRIME
from tests.security.vectors import load

from .programs import needs_ssh_keygen

# RFC 8032 section 7.1, test 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RAW = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe246551"
    "41438e7a100b"
)
OTHER_RAW = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")  # test 2


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def blob(raw: bytes = RAW, key_type: bytes = b"ssh-ed25519") -> bytes:
    return string(key_type) + string(raw)


def line(data: bytes, comment: str = "") -> str:
    return f"ssh-ed25519 {base64.b64encode(data).decode()} {comment}".rstrip()


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every way to change one bit, with the byte it is in."""
    for bit in range(8 * len(data)):
        at, mask = bit // 8, 1 << bit % 8
        yield at, data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


# --- public keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("comment", ["", "alice@laptop", "the key of  Zoë"])
def test_public_key_is_written_as_it_was_read(comment: str) -> None:
    text = line(blob(), comment)
    key = PublicKey.parse(text)
    assert (key.raw, key.comment, str(key)) == (RAW, comment, text)
    assert eval(repr(key)) == key


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "  \n"])
def test_public_key_line_may_end_as_lines_end(ending: str) -> None:
    assert PublicKey.parse(line(blob(), "alice") + ending).comment == "alice"


def test_public_key_line_may_be_separated_by_tabs() -> None:
    assert PublicKey.parse(line(blob(), "alice").replace(" ", "\t")).comment == "alice"


def test_public_keys_are_equal_when_their_bytes_are() -> None:
    key, same, other = PublicKey(RAW, "alice"), PublicKey(RAW, "bob"), PublicKey(OTHER_RAW, "alice")
    assert key == same
    assert hash(key) == hash(same)
    assert key != other


def test_blob_is_read_back() -> None:
    key = PublicKey(RAW)
    assert key.blob == blob()
    assert PublicKey.from_blob(key.blob) == key


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not of the form"),
        ("ssh-ed25519", "not of the form"),
        (base64.b64encode(blob()).decode(), "not of the form"),
        (line(blob()).replace("ssh-ed25519", "ssh-rsa"), "type 'ssh-rsa'"),
        (line(blob()).replace("ssh-ed25519", "SSH-ED25519"), "type 'SSH-ED25519'"),
        (line(blob(key_type=b"ssh-rsa")), "type 'ssh-rsa'"),
        (line(blob(RAW[:-1])), "32 bytes"),
        (line(blob(RAW + b"\0")), "32 bytes"),
        (line(blob(b"")), "32 bytes"),
        (line(blob() + b"\0"), "follows its end"),
        (line(blob()[:-1]), "cut short"),
        (line(b""), "not of the form"),
        (line(blob())[:-1], "not base64"),
        (line(blob()) + "=", "base64"),
        (line(blob())[:-1] + "é", "not base64"),
        (line(blob()).replace("AAAA", "AA\nAA", 1), "one line"),
        (line(blob()) + "\n\n", "one line"),
        (line(blob()) + "\n" + line(blob()), "one line"),
        (line(blob(), "red \x1b[31m"), "one line"),
        (line(blob(), "two\u2028lines"), "one line"),
    ],
)
def test_malformed_public_key_line_is_refused(text: str, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        PublicKey.parse(text)


def test_every_cut_of_a_blob_is_refused() -> None:
    for length in range(len(blob())):
        with pytest.raises(KeyFormatError):
            PublicKey.from_blob(blob()[:length])


@pytest.mark.parametrize("raw", [RAW[:31], RAW + b"\0", b"", bytearray(RAW), "k" * 32])
def test_public_key_is_32_bytes_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(KeyFormatError, match="32 bytes"):
        PublicKey(raw)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [FIELD_PRIME, FIELD_PRIME + 1, 2**255 - 1])
def test_second_spelling_of_a_point_is_refused(y: int, sign: int) -> None:
    with pytest.raises(KeyFormatError, match="canonical"):
        PublicKey((y | sign << 255).to_bytes(32, "little"))


def test_largest_coordinate_is_accepted() -> None:
    PublicKey((FIELD_PRIME - 1).to_bytes(32, "little"))


def test_comment_that_would_not_fit_one_line_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="comment"):
        PublicKey(RAW, "alice\nssh-ed25519 AAAA")


def test_public_key_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(line(blob(), "Zoë") + "\n", encoding="utf-8")
    assert PublicKey.load(tmp_path / "key.pub").comment == "Zoë"


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"nonsense", "not of the form"), (b"ssh-ed25519 \xff", "utf-8"), (b" " * 65537, "larger than 65536 bytes")],
)
def test_bad_public_key_file_is_refused_with_its_name(data: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(data)
    with pytest.raises(KeyFormatError, match=f"key.pub: .*{problem}"):
        PublicKey.load(tmp_path / "key.pub")


def test_missing_public_key_file_is_a_key_format_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match=r"key\.pub: No such file"):
        PublicKey.load(tmp_path / "key.pub")


@needs_ssh_keygen
def test_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(str(PublicKey(RAW, "alice")))
    command = ["ssh-keygen", "-lf", str(tmp_path / "key.pub")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["256", PublicKey(RAW).fingerprint, "alice", "(ED25519)"]


# --- verification -------------------------------------------------------------------------------


def test_signature_of_another_key_or_data_does_not_verify() -> None:
    assert PublicKey(RAW).verify(b"", SIGNATURE)
    assert not PublicKey(RAW).verify(b"x", SIGNATURE)
    assert not PublicKey(OTHER_RAW).verify(b"", SIGNATURE)


@pytest.mark.parametrize("signature", [b"", SIGNATURE[:63], SIGNATURE + b"\0"])
def test_signature_of_a_wrong_length_never_reaches_libsodium(signature: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nacl.bindings.crypto_sign_open", pytest.fail)
    assert not PublicKey(RAW).verify(b"", signature)


def test_key_of_small_order_verifies_nothing() -> None:
    neutral = b"\1" + bytes(31)  # with R = A = neutral and S = 0 the equation holds for every message
    assert not PublicKey(neutral).verify(b"anything", neutral + bytes(32))


def test_wycheproof_signatures() -> None:
    verdicts = []
    for group in load("wycheproof/ed25519_test.json")["testGroups"]:
        key = PublicKey(bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            verified = key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert verified == (case["result"] == "valid"), case
            verdicts.append(verified)
    assert True in verdicts
    assert False in verdicts


# --- private key files --------------------------------------------------------------------------

HEAD = b"openssh-key-v1\0" + string(b"none") + string(b"none") + string(b"") + (1).to_bytes(4, "big")
CHECK = b"\x11\x22\x33\x44"
SECRET_KEY = SEED + RAW
COMMENT = b"alice@laptop"
PRIVATE = CHECK + CHECK + blob() + string(SECRET_KEY) + string(COMMENT)  # one byte less than whole blocks
PADDING = b"\1"
BODY = HEAD + string(blob()) + string(PRIVATE + PADDING)


def key_file(body: bytes) -> bytes:
    encoded = base64.encodebytes(body)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + encoded + b"-----END OPENSSH PRIVATE KEY-----\n"


def with_private(private: bytes) -> bytes:
    return HEAD + string(blob()) + string(private)


def test_private_key_file_written_by_hand_is_read() -> None:
    seed, public_key = parse_private_key(key_file(BODY))
    assert (seed, public_key.raw, public_key.comment) == (SEED, RAW, "alice@laptop")


@pytest.mark.parametrize("length", range(9))
def test_private_key_is_read_as_it_was_written_with_any_padding(length: int) -> None:
    comment = "c" * length
    text = format_private_key(SEED, PublicKey(RAW, comment))
    seed, public_key = parse_private_key(text.encode())
    assert (seed, public_key.raw, public_key.comment) == (SEED, RAW, comment)


def test_private_key_file_may_have_windows_line_ends_and_lack_the_last_one() -> None:
    text = key_file(BODY).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    assert parse_private_key(text) == (SEED, PublicKey(RAW))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"openssh-key-v2\0" + BODY[15:], "not an openssh-key-v1", id="magic"),
        pytest.param(BODY.replace(string(b"none"), string(b"aes256-ctr"), 1), "'aes256-ctr'", id="cipher"),
        pytest.param(BODY.replace(string(b"none") * 2, string(b"none") + string(b"bcrypt")), "'none'", id="kdf"),
        pytest.param(
            BODY.replace(string(b"none") + string(b""), string(b"none") + string(b"x")), "kdf options", id="options"
        ),
        pytest.param(BODY.replace(HEAD, HEAD[:-1] + b"\2"), "one key", id="two-keys"),
        pytest.param(BODY.replace(HEAD, HEAD[:-1] + b"\0"), "one key", id="no-key"),
        pytest.param(HEAD + string(blob(OTHER_RAW)) + string(PRIVATE + PADDING), "different public", id="outer-public"),
        pytest.param(HEAD + string(blob(key_type=b"ssh-rsa")) + string(PRIVATE + PADDING), "ssh-rsa", id="outer-type"),
        pytest.param(HEAD + string(blob() + b"\0") + string(PRIVATE + PADDING), "follows", id="after-outer-public"),
        pytest.param(with_private(b"\0" + PRIVATE[1:] + PADDING), "check numbers", id="check"),
        pytest.param(with_private((PRIVATE + PADDING).replace(RAW, OTHER_RAW, 1)), "different", id="inner-public"),
        pytest.param(with_private((PRIVATE + PADDING).replace(b"ssh-", b"ssj-")), "type 'ssj-", id="inner-type"),
        pytest.param(
            with_private((PRIVATE + PADDING).replace(SECRET_KEY, SEED + OTHER_RAW)), "not belong", id="third-public"
        ),
        pytest.param(
            with_private((PRIVATE + PADDING).replace(SECRET_KEY, RAW + RAW)), "not belong", id="seed-of-another-key"
        ),
        pytest.param(
            with_private(PRIVATE.replace(string(SECRET_KEY), string(SEED)) + b"\1"), "wrong length", id="seed-alone"
        ),
        pytest.param(with_private(PRIVATE), "padding", id="no-padding"),
        pytest.param(with_private(PRIVATE + b"\2"), "padding", id="other-padding"),
        pytest.param(with_private(PRIVATE + b"\1\2"), "padding", id="padding-past-the-block"),
        pytest.param(with_private(PRIVATE + bytes(range(1, 10))), "padding", id="a-block-too-many"),
        pytest.param(with_private(PRIVATE.replace(COMMENT, b"\xff" * 12) + PADDING), "UTF-8", id="comment"),
        pytest.param(with_private(PRIVATE.replace(COMMENT, b"\x1b" * 12) + PADDING), "printed", id="escapes"),
        pytest.param(BODY + b"\0", "follows its end", id="after-the-end"),
        pytest.param(b"", "cut short", id="empty"),
    ],
)
def test_malformed_private_key_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        parse_private_key(key_file(body))


def test_changed_bit_of_a_private_key_is_noticed_outside_the_comment() -> None:
    at_comment = BODY.index(COMMENT)
    for at, changed in flips(BODY):
        try:
            seed, public_key = parse_private_key(key_file(changed))
        except KeyFormatError:
            continue
        assert at_comment <= at < at_comment + len(COMMENT)
        assert (seed, public_key.raw) == (SEED, RAW)
        assert public_key.comment.encode() == changed[at_comment : at_comment + len(COMMENT)]


def test_every_cut_of_a_private_key_is_refused() -> None:
    for length in range(len(BODY)):
        with pytest.raises(KeyFormatError):
            parse_private_key(key_file(BODY[:length]))


def test_every_cut_of_a_private_key_file_is_refused() -> None:
    text = key_file(BODY)
    for length in range(len(text) - 1):  # without the last line feed it is whole
        with pytest.raises(KeyFormatError):
            parse_private_key(text[:length])


def test_changed_bit_of_a_private_key_file_never_gives_another_key() -> None:
    for _, changed in flips(key_file(BODY)):
        try:
            seed, public_key = parse_private_key(changed)
        except KeyFormatError:
            continue
        assert (seed, public_key.raw) == (SEED, RAW)


def test_bits_that_base64_does_not_use_must_be_zero() -> None:
    assert b"E=\n" in key_file(BODY)  # the last two bits of E stand for nothing
    with pytest.raises(KeyFormatError, match="canonical"):
        parse_private_key(key_file(BODY).replace(b"E=\n", b"F=\n"))


@pytest.mark.parametrize("after", [b"\n", b"x", b"# a comment\n", key_file(BODY)])
def test_nothing_may_follow_the_private_key(after: bytes) -> None:
    with pytest.raises(KeyFormatError):
        parse_private_key(key_file(BODY) + after)


def test_a_private_key_in_the_place_of_a_public_one_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "alice").write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n")
    with pytest.raises(KeyFormatError, match=r"alice: that is a private key; .* \.pub file$"):
        PublicKey.load(tmp_path / "alice")
