"""What an authority has said of a key: read as sshd reads it, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chanlink import Identity
from chanlink.errors import KeyFormatError
from chanlink.security.keys.credential import CREDENTIAL_MAX, HOST, OTHER_CA, USER, Credential
from chanlink.security.keys.openssh import PublicKey, Reader, pack_string

from .credentials import ALL, CA, FOREVER
from .programs import needs_ssh_keygen, ssh_keygen

ORG = CA("org")
ALICE = Identity.generate("alice").public_key


def made(**changes: Any) -> bytes:
    return ORG.blob(ALICE, **changes)


# --- those of ssh-keygen ------------------------------------------------------------------------


@pytest.fixture
def issue(tmp_path: Path) -> Callable[..., Credential]:
    """Has ssh-keygen make one for ALICE."""
    ORG.identity.save(tmp_path / "ca")
    (tmp_path / "key.pub").write_text(f"{ALICE}\n")

    def call(*options: str, principals: str = "alice,bob") -> Credential:
        ssh_keygen("-q", "-s", tmp_path / "ca", "-I", "alice's", "-n", principals, *options, tmp_path / "key.pub")
        return Credential.load(tmp_path / "key-cert.pub")

    return call


@needs_ssh_keygen
def test_it_is_what_ssh_keygen_has_written(issue: Callable[..., Credential]) -> None:
    one = issue("-z", "7", "-V", "20260101000000Z:20270101000000Z")
    assert (one.key, one.ca, one.type, one.serial) == (ALICE, ORG.key, USER, 7)
    assert (one.key_id, one.principals) == ("alice's", ("alice", "bob"))
    assert (one.valid_after, one.valid_before) == (1767225600, 1798761600)
    assert (one.options, one.extensions) == ((), frozenset(ALL))
    assert one.permits_terminals
    assert one.permits_forwarding
    assert (one.force_command, one.source_addresses, one.unknown_options) == (None, None, ())


@needs_ssh_keygen
def test_restrictions_of_ssh_keygen_are_read(issue: Callable[..., Credential]) -> None:
    words = "clear", "force-command=date -u", "source-address=10.0.0.0/8,fd00::1", "critical:new@example=1"
    one = issue(*[word for option in words for word in ("-O", option)])
    assert one.force_command == "date -u"
    assert [str(network) for network in one.source_addresses or ()] == ["10.0.0.0/8", "fd00::1/128"]
    assert one.unknown_options == ("new@example",)
    assert not one.extensions
    assert not one.permits_terminals
    assert not one.permits_forwarding


@needs_ssh_keygen
def test_one_of_a_host_is_read(issue: Callable[..., Credential]) -> None:
    one = issue("-h", principals="build.example")
    assert (one.type, one.principals, one.valid_before) == (HOST, ("build.example",), FOREVER)


@needs_ssh_keygen
def test_one_of_an_authority_with_another_type_of_key_says_so(tmp_path: Path) -> None:
    ssh_keygen("-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ca")
    (tmp_path / "key.pub").write_text(f"{ALICE}\n")
    ssh_keygen("-q", "-s", tmp_path / "ca", "-I", "x", "-n", "alice", tmp_path / "key.pub")
    with pytest.raises(KeyFormatError, match=r"key-cert\.pub: its authority has a key of type 'ecdsa-") as caught:
        Credential.load(tmp_path / "key-cert.pub")
    assert caught.value.code == OTHER_CA


# --- what it says -------------------------------------------------------------------------------


def test_it_holds_from_its_first_second_to_before_its_last() -> None:
    one = ORG.issue(ALICE, after=100, before=200)
    assert [one.holds(now) for now in (99, 100, 199, 200)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("source", "address", "allowed"),
    [
        (None, "192.0.2.1", True),
        (None, "", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.0/24,10.0.0.0/8", "10.9.8.7", True),
        ("192.0.2.0/24", "::ffff:192.0.2.9", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fe80::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "::1", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "host.example", False),
    ],
)
def test_a_peer_comes_from_where_it_may(source: str | None, address: str, allowed: bool) -> None:
    assert ORG.issue(ALICE, source_address=source).allows_address(address) is allowed


def test_its_line_is_read_again() -> None:
    one = ORG.issue(ALICE)
    assert Credential.parse_line(f"{one} a comment\n") == one


def test_it_shows_whose_it_is() -> None:
    one = ORG.issue(ALICE, key_id="alice", serial=7)
    assert repr(one) == f"<Credential 'alice' of {ALICE.fingerprint}, serial 7>"


# --- what is none -------------------------------------------------------------------------------


def value(text: bytes) -> bytes:
    return pack_string(text)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "ssh-ed25519"}, "a public key alone"),
        ({"kind": "ssh-rsa-cert-v01@openssh.com"}, "a credential of type 'ssh-rsa-cert"),
        ({"type": 0}, "this one 0"),
        ({"type": 3}, "this one 3"),
        ({"principals": ()}, "no principal"),
        ({"principals": (b"\xff",)}, "principal of a credential is not UTF-8"),
        ({"principals": (b"al\x1b[2Jice",)}, "principal of a credential has characters"),
        ({"principals": (b"alice\0",)}, "principal of a credential has characters"),
        ({"key_id": b"a\nb"}, "key id of a credential has characters"),
        ({"options": {"source-address": value(b"10.0.0.1/8")}}, "'10.0.0.1/8' is not a network"),
        ({"options": {"source-address": value(b"10.0.0.0/33")}}, "'10.0.0.0/33' is not a network"),
        ({"options": {"source-address": value(b"10.0.0.0/255.0.0.0")}}, "is not a network"),
        ({"options": {"source-address": value(b"10.0.0.1,")}}, "'' is not a network"),
        ({"options": {"source-address": value(b"!10.0.0.1")}}, "is not a network"),
        ({"options": {"source-address": value(b"host.example")}}, "is not a network"),
        ({"options": {"source-address": b""}}, "cut short"),
        ({"options": {"force-command": b"date"}}, "cut short"),
        ({"options": {"force-command": value(b"date") + b"x"}}, "something follows"),
        ({"options": {"force-command": value(b"a\0b")}}, "characters"),
        ({"options": {"source-address": value(b"::1"), "force-command": value(b"date")}}, "not in their order"),
        ({"options": 2 * (value(b"force-command") + value(value(b"date")))}, "one stands twice"),
        ({"options": value(b"force-command")}, "cut short"),
        ({"extensions": {"permit-pty": b"x"}}, "permit-pty has a value"),
        ({"extensions": {"permit-pty": b"", "new": b""}}, "not in their order"),
        ({"extensions": b"\0\0\0\1"}, "cut short"),
        ({"ca": b""}, "cut short"),
        ({"ca": value(b"ssh-rsa")}, "type 'ssh-rsa'"),
        ({"ca": CA().key.blob}, "signature is wrong"),
        ({"ca": made()}, "type 'ssh-ed25519-cert"),
        ({"rest": b"x"}, "something follows"),
        ({"principals": (b"x" * CREDENTIAL_MAX,)}, "2048 are the most"),
    ],
)
def test_what_is_not_understood_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        Credential.parse(made(**changes))


def test_an_unknown_extension_may_say_anything() -> None:
    assert Credential.parse(made(extensions={"login@example": b"\xff\0"})).extensions == {"login@example"}


def test_a_key_that_is_no_canonical_point_is_refused() -> None:
    blob = made().replace(ALICE.raw, bytes.fromhex("ed" + "ff" * 30 + "7f"))
    with pytest.raises(KeyFormatError, match="canonical"):
        Credential.parse(blob)


def test_one_that_is_cut_anywhere_is_refused() -> None:
    blob = made(options={"force-command": value(b"date")}, extensions={"permit-pty": b""})
    Credential.parse(blob)
    for length in range(len(blob)):
        with pytest.raises(KeyFormatError):
            Credential.parse(blob[:length])


def test_one_with_any_bit_changed_is_refused() -> None:
    blob = made()
    for at in range(len(blob)):
        with pytest.raises(KeyFormatError):
            Credential.parse(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])


NO_LINES = [
    ("", "it is empty; ssh-keygen -s CA"),
    (str(ALICE), "a public key alone; .* ssh-keygen -s"),
    ("ssh-rsa-cert-v01@openssh.com AAAA", "only ssh-ed25519-cert"),
    ("ssh-ed25519-cert-v01@openssh.com", "not of the form"),
    ("ssh-ed25519-cert-v01@openssh.com A", "not base64"),
    (f"{ORG.issue(ALICE)}\n{ORG.issue(ALICE)}", "one line"),
]


@pytest.mark.parametrize(("line", "problem"), NO_LINES, ids=[problem for _, problem in NO_LINES])
def test_a_line_that_is_something_else_is_refused(line: str, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        Credential.parse_line(line)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match=r"x-cert\.pub: No such file"):
        Credential.load(tmp_path / "x-cert.pub")
    (tmp_path / "x-cert.pub").write_bytes(b"\xff")
    with pytest.raises(KeyFormatError, match=r"x-cert\.pub: .*utf-8"):
        Credential.load(tmp_path / "x-cert.pub")


def test_what_was_taken_and_what_is_left_is_known() -> None:
    reader = Reader(b"\0\0\0\0\0\0\0\7ab")
    assert (reader.uint64(), reader.taken, reader.left) == (7, bytes(7) + b"\7", 2)


def test_the_comment_of_a_key_is_nothing_that_it_vouches_for() -> None:
    assert ORG.issue(ALICE).key.comment == ""
    assert ORG.issue(PublicKey(ALICE.raw, "mallory")).key == ALICE
