"""Revocation lists: those of ssh-keygen, plain ones, and what is none."""

from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest

from chanlink import Identity
from chanlink.errors import KeyFormatError
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.krl import BITMAP_MAX, KRL_MAX, RANGES_MAX, Krl
from chanlink.security.keys.openssh import PublicKey, pack_string

from .credentials import CA
from .lists import KRL_HEAD, bitmap, certificates_of, section
from .programs import needs_ssh_keygen, ssh_keygen

ORG, OTHER = CA("org"), CA("other")
ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


def issued(serial: int = 1, *, key: PublicKey = ALICE, ca: CA = ORG, key_id: str = "alice's") -> Credential:
    return ca.issue(key, serial=serial, key_id=key_id)


# --- by ssh-keygen ------------------------------------------------------------------------------

Make = Callable[..., Krl]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Has ssh-keygen make a list of what stands in a specification; of ORG, or of any authority for its key ids."""
    ca = tmp_path / "ca.pub"
    ca.write_text(f"{ORG.key}\n")

    def call(specification: str, *, ca: str | Path = ca, options: tuple[str, ...] = ()) -> Krl:
        (tmp_path / "specification").write_text(specification)
        ssh_keygen("-q", "-k", "-f", tmp_path / "krl", "-s", ca, *options, tmp_path / "specification")
        return Krl.load(tmp_path / "krl")

    return call


SPECIFICATIONS = {
    "one": "serial: 5\n",
    "list": "serial: 1\nserial: 5\nserial: 9\nserial: 1000000\n",
    "range": "serial: 4-6\n",
    "to-the-end": f"serial: 5-{2**64 - 1}\n",
    "bitmap": "".join(f"serial: {number}\n" for number in range(5, 5000, 2)),
    "id": "id: alice's\n",
    "key": f"key: {ALICE}\n",
    "sha1": f"sha1: {ALICE}\n",
    "sha256": f"sha256: {ALICE}\n",
    "hash": f"hash: {ALICE.fingerprint}\n",
    "authority": f"key: {ORG.key}\n",
}


@needs_ssh_keygen
@pytest.mark.parametrize(
    "specification",
    SPECIFICATIONS.values(),
    ids=SPECIFICATIONS,
)
def test_what_ssh_keygen_revokes_is_revoked_as_it_says(specification: str, make: Make, tmp_path: Path) -> None:
    krl = make(specification)
    credentials = [issued(number) for number in (0, 1, 4, 5, 6, 9, 10, 4999, 5001, 2**64 - 1)]
    credentials += [issued(5, key=BOB, key_id="bob's"), issued(5, ca=OTHER), issued(7, key=BOB, ca=OTHER, key_id="x")]
    for number, one in enumerate(credentials):
        path = tmp_path / f"{number}-cert.pub"
        path.write_text(f"{one}\n")
        theirs = ssh_keygen("-Q", "-f", tmp_path / "krl", path, check=False).returncode != 0
        assert krl.revokes_credential(one) is theirs, one
    for number, key in enumerate((ALICE, BOB, ORG.key)):
        path = tmp_path / f"{number}.pub"
        path.write_text(f"{key}\n")
        theirs = ssh_keygen("-Q", "-f", tmp_path / "krl", path, check=False).returncode != 0
        assert krl.revokes(key) is theirs, key


@needs_ssh_keygen
def test_key_ids_may_be_revoked_for_every_authority(make: Make) -> None:
    krl = make("id: alice's\n", ca="none")
    assert krl.revokes_credential(issued(ca=OTHER))
    assert not krl.revokes_credential(issued(key_id="bob's"))
    assert not krl.revokes(ALICE)


@needs_ssh_keygen
def test_a_hundred_thousand_serial_numbers_are_found(make: Make) -> None:
    krl = make("".join(f"serial: {number}\n" for number in range(10**6, 10**6 + 3 * 10**5, 3)))
    for number in (10**6, 10**6 + 3 * 77_777, 10**6 + 3 * 99_999):
        assert krl.revokes_credential(issued(number))
        assert not krl.revokes_credential(issued(number + 1))


@needs_ssh_keygen
def test_a_list_that_was_updated_has_both(make: Make) -> None:
    make("serial: 3\n")
    krl = make(f"serial: 8\nkey: {BOB}\n", options=("-u",))
    assert [krl.revokes_credential(issued(number)) for number in (3, 4, 8)] == [True, False, True]
    assert krl.revokes(BOB)


@needs_ssh_keygen
def test_an_empty_list_revokes_nothing(make: Make) -> None:
    krl = make("")
    assert not krl.revokes(ALICE)
    assert not krl.revokes_credential(issued())


# --- by hand ------------------------------------------------------------------------------------


def certificates(*sections: bytes, ca: bytes = ORG.key.blob) -> bytes:
    return certificates_of(ca, *sections)


def extension(critical: bool) -> bytes:
    return pack_string(b"new@example") + bytes([critical]) + pack_string(b"x")


def test_ranges_that_overlap_are_one() -> None:
    ranges = [section(0x21, pack(">QQ", *one)) for one in ((50, 60), (10, 20), (15, 30), (18, 19), (31, 31))]
    krl = Krl.parse(KRL_HEAD + certificates(*ranges) + certificates(section(0x20, pack(">QQ", 40, 5))))
    revoked = {number for number in range(70) if krl.revokes_credential(issued(number))}
    assert revoked == {5, *range(10, 32), 40, *range(50, 61)}


def test_the_lowest_bit_of_a_bitmap_is_its_offset() -> None:
    krl = Krl.parse(KRL_HEAD + certificates(bitmap(100, 0b1101)))
    assert {n for n in range(90, 120) if krl.revokes_credential(issued(n))} == {100, 102, 103}


def test_a_bitmap_reaches_to_the_last_number_and_no_further() -> None:
    krl = Krl.parse(KRL_HEAD + certificates(bitmap(2**64 - 3, 0b100)))
    assert krl.revokes_credential(issued(2**64 - 1))
    with pytest.raises(KeyFormatError, match="beyond the last"):
        Krl.parse(KRL_HEAD + certificates(bitmap(2**64 - 3, 0b1000)))


def test_a_serial_number_of_zero_is_none() -> None:
    krl = Krl.parse(KRL_HEAD + certificates(section(0x21, pack(">QQ", 0, 9))))
    assert [krl.revokes_credential(issued(number)) for number in (0, 1)] == [False, True]


def test_what_may_be_passed_over_is() -> None:
    data = KRL_HEAD + section(255, extension(critical=False)) + certificates(section(0x39, extension(critical=False)))
    krl = Krl.parse(data + section(2, pack_string(ALICE.blob)) + section(4, b"a key") + pack_string(b"its signature"))
    assert krl.revokes(ALICE)


def test_keys_and_authorities_of_other_types_are_passed_over() -> None:
    rsa = pack_string(b"ssh-rsa") + pack_string(b"x")
    krl = Krl.parse(KRL_HEAD + certificates(section(0x20, pack(">Q", 1)), ca=rsa) + section(2, pack_string(rsa)))
    assert not krl.revokes_credential(issued())


NOT_UNDERSTOOD = [
    (KRL_HEAD.replace(b"\0\0\0\1", b"\0\0\0\2", 1), "version 2"),
    (KRL_HEAD[:-1], "cut short"),
    (KRL_HEAD + section(6), "section of type 6"),
    (KRL_HEAD + certificates(section(0x24)), "certificates of type 36"),
    (KRL_HEAD + certificates(ca=b"x"), "cut short"),
    (KRL_HEAD + certificates(ca=pack_string(b"new")), "key of type 'new'"),
    (KRL_HEAD + certificates(ca=ORG.key.blob + b"x"), "something follows"),
    (KRL_HEAD + certificates(section(0x20, b"x" * 7)), "cut short"),
    (KRL_HEAD + certificates(section(0x20, bytes(8))), "0 to 0 is no range"),
    (KRL_HEAD + certificates(section(0x21, pack(">QQ", 2, 1))), "2 to 1 is no range"),
    (KRL_HEAD + certificates(section(0x21, pack(">QQQ", 1, 2, 3))), "something follows"),
    (KRL_HEAD + certificates(bitmap(0, 2**31)), "negative"),
    (KRL_HEAD + certificates(bitmap(1, 2 ** (8 * BITMAP_MAX), BITMAP_MAX + 1)), "too long"),
    (KRL_HEAD + certificates(section(0x23, b"\0\0\0\1")), "cut short"),
    (KRL_HEAD + section(255, extension(critical=True)), "'new@example' is critical"),
    (KRL_HEAD + certificates(section(0x39, extension(critical=True))), "is critical"),
    (KRL_HEAD + section(255, extension(critical=False), b"x"), "something follows"),
    (KRL_HEAD + section(3, pack_string(bytes(19))), "a fingerprint of 19 bytes, and it has 20"),
    (KRL_HEAD + section(5, pack_string(bytes(20))), "a fingerprint of 20 bytes, and it has 32"),
    (KRL_HEAD + section(4, b"") + pack_string(b"s") + section(2), "follows its signature"),
    (
        KRL_HEAD + certificates(*[bitmap(1, int("01" * 8191, 2), 2048)] * (RANGES_MAX // 8191 + 1)),
        "ranges of serial",
    ),
    (bytes(KRL_MAX + 1), "are the most"),
    (b"SSHKRL\n\xff", "neither a revocation list of ssh-keygen nor text"),
    (b"SSHKRL\n", "line 1: not of the form"),
]


@pytest.mark.parametrize(("data", "problem"), NOT_UNDERSTOOD, ids=[problem for _, problem in NOT_UNDERSTOOD])
def test_what_is_not_understood_is_an_error(data: bytes, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        Krl.parse(data)


def test_one_that_is_cut_anywhere_is_an_error_or_ends_where_a_section_ends() -> None:
    sections = [certificates(section(0x20, pack(">Q", 1)), bitmap(1, 5)), section(2, pack_string(ALICE.blob))]
    data, ends = KRL_HEAD + b"".join(sections), {len(KRL_HEAD), len(KRL_HEAD + sections[0])}
    for length in set(range(8, len(data))) - ends:
        with pytest.raises(KeyFormatError):
            Krl.parse(data[:length])


# --- plain lists --------------------------------------------------------------------------------


def test_a_plain_list_of_keys_revokes_them_and_what_they_have_signed() -> None:
    krl = Krl.parse(f"# stolen\n\n{ALICE}\n{issued(key=BOB)} his\n{OTHER.key}\n".encode())
    assert [krl.revokes(key) for key in (ALICE, BOB, OTHER.key, ORG.key)] == [True, True, True, False]
    carol = Identity.generate().public_key
    assert krl.revokes_credential(issued(key=carol, ca=OTHER))
    assert krl.revokes_credential(issued())
    assert not krl.revokes_credential(issued(key=carol))


@needs_ssh_keygen
def test_other_types_of_keys_may_stand_in_it(tmp_path: Path) -> None:
    for kind in ("rsa", "ecdsa"):
        ssh_keygen("-q", "-t", kind, "-N", "", "-f", tmp_path / kind)
    text = "".join((tmp_path / f"{kind}.pub").read_text() for kind in ("rsa", "ecdsa"))
    assert Krl.parse(f"{text}{ALICE}\n".encode()).revokes(ALICE)


def test_a_plain_list_is_a_list_also_of_nothing() -> None:
    assert not Krl.parse(b"").revokes(ALICE)
    assert not Krl.parse(b"# nobody\n").revokes_credential(issued())


NO_LINES = [
    ("ssh-ed25519", "not of the form"),
    ("ssh-ed25519 AAAA", "cut short"),
    ("ssh-ed25519 x", "not base64"),
    (str(ALICE).replace("ssh-ed25519", "ssh-rsa", 1), "another type than it says"),
    ("ssh-new AAAAB3NzaC1uZXc=", "'ssh-new', which is not known"),
    (f'from="10.0.0.1" {ALICE}', "not base64"),
    (f"{ALICE} a\x1bb", "not printable"),
]


@pytest.mark.parametrize(("line", "problem"), NO_LINES, ids=[problem for _, problem in NO_LINES])
def test_a_line_that_is_something_else_is_an_error_with_its_number(line: str, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=f"^line 2: .*{problem}"):
        Krl.parse(f"{BOB}\n{line}\n".encode())


# --- the file -----------------------------------------------------------------------------------


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "krl"
    with pytest.raises(KeyFormatError, match=f"{path}: No such file"):
        Krl.load(path)
    path.write_text("x")
    with pytest.raises(KeyFormatError, match=f"{path}: line 1: not of the form"):
        Krl.load(path)
    path.chmod(0o666)
    with pytest.raises(KeyFormatError, match="everybody can write it"):
        Krl.load(path)
