"""The lines of a trust file: what each says, what two of them may not say together, and one key in place of another."""

import random
import stat
from pathlib import Path

import pytest

from chanlink import Identity, KeyFormatError, PublicKey, TrustFormatError
from chanlink.security.keys.syntax import FILE_MAX
from chanlink.security.keys.trust_lines import Line, follow, parse_line, read
from tests.patience import lines_run

ALICE, BOB, CA, NEW = (Identity.generate(name).public_key for name in ("alice@laptop", "bob", "our CA", "new"))
BARE = PublicKey(ALICE.raw)
AUTHORITY = f'cert-authority,issuer="example",principals="alice,bob" {CA}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trust"


# --- one line -----------------------------------------------------------------------------------


def test_a_line_of_an_authority_says_who_it_is_and_for_whom_it_may_speak() -> None:
    text = f'cert-authority,issuer="example",principals="bob,a.l-i_c3",services="rexec",revoked="/etc/krl" {CA}'
    assert parse_line(text) == Line(
        frozenset({"rexec"}), None, CA, "example", ("bob", "a.l-i_c3"), "/etc/krl", is_revoked=False
    )


@pytest.mark.parametrize(
    "text",
    [
        f'issuer="example",principals="alice,bob",cert-authority {CA}',
        f'principals="alice,bob",cert-authority,issuer="example"   {CA}',
        AUTHORITY,
    ],
)
def test_the_options_of_an_authority_may_stand_in_any_order(text: str) -> None:
    assert parse_line(text) == Line(None, None, CA, "example", ("alice", "bob"))


def test_a_line_may_refuse_a_key() -> None:
    for text in (f"@revoked {ALICE}", f"@revoked   {BARE}"):
        assert parse_line(text) == Line(None, None, ALICE, is_revoked=True)


GOOD = {"issuer": "example", "principals": "alice", "services": "rexec", "revoked": "/etc/krl"}


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("issuer", None, 'cert-authority needs issuer="..."'),
        ("principals", None, 'cert-authority needs principals="..."'),
        ("issuer", "", "'' is not the name of an issuer"),
        ("issuer", "a@b", "'a@b' is not the name of an issuer"),
        ("issuer", "a b", "is not the name of an issuer"),
        ("issuer", "a" * 65, "is not the name of an issuer"),
        ("issuer", "SHA256:x", "is not the name of an issuer"),
        ("principals", "", "'' is not a principal"),
        ("principals", "alice,", "'' is not a principal"),
        ("principals", "alice, bob", "' bob' is not a principal"),
        ("principals", "*", r"'\*' is not a principal"),
        ("principals", "a@b", "'a@b' is not a principal"),
        ("principals", "a:b", "'a:b' is not a principal"),
        ("principals", "Zoë", "is not a principal"),
        ("principals", "a" * 65, "is not a principal"),
        ("principals", "alice,bob,alice", "a principal stands twice"),
        ("services", "", "not the name of a service"),
        ("names", "web1", "the option 'names' is for a key's own line"),
        ("revoked", "", "not the whole path"),
        ("revoked", "krl", "'krl' is not the whole path"),
        ("revoked", "./krl", "not the whole path"),
        ("from", "10.0.0.1", "the option 'from' is not known"),
        ("expiry-time", "20300101", "the option 'expiry-time' is not known"),
    ],
)
def test_an_option_of_an_authority_that_is_not_as_it_should_be_is_an_error(
    option: str, value: str | None, problem: str
) -> None:
    options = {name: text for name, text in {**GOOD, option: value}.items() if text is not None}
    words = ",".join(f'{name}="{text}"' for name, text in options.items())
    with pytest.raises(TrustFormatError, match=problem):
        parse_line(f"cert-authority,{words} {CA}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"cert-authority {CA}", "needs issuer"),
        (f'cert-authority="",issuer="a",principals="b" {CA}', "the option 'cert-authority' is not known in this form"),
        (f'cert-authority,cert-authority,issuer="a",principals="b" {CA}', "stands twice"),
        (f'issuer="a",principals="b" {CA}', "the option 'issuer' is for lines with cert-authority"),
        (f'principals="b" {CA}', "the option 'principals' is for lines with cert-authority"),
        (f'revoked="/krl" {CA}', "the option 'revoked' is for lines with cert-authority"),
        (f'cert-authority,issuer="a",principals {CA}', "the option 'principals' is not known in this form"),
        (f"@cert-authority {CA}", "not of the form"),
        (f"@Revoked {CA}", "not of the form"),
        (f'@revoked services="x" {CA}', "a key of type"),
        ("@revoked", "not of the form"),
        ("@revoked ssh-rsa AAAA", "type 'ssh-rsa'"),
        ('cert-authority,issuer="a",principals="b" ssh-rsa AAAA', "type 'ssh-rsa'"),
        ('cert-authority,issuer="a",principals="b"', "not of the form"),
    ],
)
def test_what_is_not_understood_is_an_error(text: str, problem: str) -> None:
    with pytest.raises((TrustFormatError, KeyFormatError), match=problem):
        parse_line(text)


def test_every_cut_of_an_authoritys_line_is_an_error_or_grants_no_more() -> None:
    text = f'cert-authority,issuer="example",principals="alice",services="rexec",revoked="/etc/krl" {CA}'
    whole = parse_line(text)
    for length in range(1, len(text)):
        try:
            line = parse_line(text[:length].rstrip())
        except (KeyFormatError, TrustFormatError):
            continue
        assert line == whole
        assert length >= len(text) - len(" our CA")


def test_no_change_of_a_character_makes_a_line_wider() -> None:
    """Whatever a line becomes by a slip of the finger or of a disk: an error, or what allows no more services, and
    nobody without an authority."""
    text, chance = (
        f'cert-authority,issuer="example",principals="alice,bob",services="rexec,ping" {CA}',
        random.Random(1),
    )
    read_well = 0
    for _ in range(3_000):
        place = chance.randrange(len(text) - len(" our CA"))
        try:
            line = parse_line(text[:place] + chance.choice('",= \\#@*aZ09._-\t') + text[place + 1 :])
        except (KeyFormatError, TrustFormatError):
            continue
        assert line is not None
        assert line.issuer
        assert line.services is not None
        read_well += 1
    assert read_well > 100


# --- lines together -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        (f"{ALICE}", f"{BARE} again", "stands on an earlier line too"),
        (AUTHORITY, f"{CA}", "stands on an earlier line too"),
        (f"{CA}", AUTHORITY, "stands on an earlier line too"),
        (
            AUTHORITY,
            f'cert-authority,issuer="example",principals="x" {BOB}',
            "the issuer 'example' stands on an earlier",
        ),
        (
            AUTHORITY,
            f'cert-authority,issuer="Example",principals="x" {BOB}',
            "the issuer 'Example' stands on an earlier",
        ),
        (AUTHORITY, f'cert-authority,issuer="other",principals="x,bob" {CA}', "has the principal 'bob' too"),
        (AUTHORITY, f"{PublicKey(BOB.raw, 'bob@example')}", "'bob@example' looks like one that an authority's line"),
        (AUTHORITY, f"{PublicKey(BOB.raw, 'a b@x@EXAMPLE')}", "looks like one that an authority's line gives"),
        (f"{PublicKey(BOB.raw, 'bob@example')}", AUTHORITY, "gives a key a name that ends in '@example'"),
    ],
)
def test_two_lines_that_would_say_different_things_of_one_are_an_error(
    one: str, other: str, problem: str, file: Path
) -> None:
    file.write_text(f"# first\n{one}\n\n{other}\n")
    with pytest.raises(TrustFormatError, match=f"trust:4: .*{problem}"):
        read(file)


def test_an_authority_may_have_a_line_for_each_right(file: Path) -> None:
    file.write_text(f'{AUTHORITY}\ncert-authority,issuer="admins",principals="root",services="rexec" {CA}\n{ALICE}\n')
    assert [(line.issuer, line.principals) for line in read(file)] == [
        ("example", ("alice", "bob")),
        ("admins", ("root",)),
        ("", ()),
    ]


def test_a_key_may_be_refused_beside_its_line_and_more_than_once(file: Path) -> None:
    file.write_text(f"{ALICE}\n@revoked {ALICE}\n@revoked {ALICE}\n{AUTHORITY}\n@revoked {CA}\n")
    assert [line.is_revoked for line in read(file)] == [False, True, True, False, True]


def test_thousands_of_lines_are_little_work_for_each(file: Path) -> None:
    """Half of them authorities' with as many principals as fit; what a line costs does not grow with the file."""
    principals = ",".join(f"user-{number}" for number in range(40))

    def lines(count: int) -> list[str]:
        keys = [Identity.generate(f"k{number}@x").public_key for number in range(count)]
        start = "cert-authority"
        return [
            f'{start},issuer="i{number}",principals="{principals}" {key}' if number % 2 else str(key)
            for number, key in enumerate(keys)
        ]

    costs = []
    for count in (100, 1_000):
        file.write_text("\n".join(lines(count)))
        assert len(read(file)) == count
        costs.append(lines_run(lambda: read(file)) / count)
    assert max(costs) < 400
    assert costs[1] < 1.5 * costs[0]


# --- a key in the place of another --------------------------------------------------------------


def test_the_new_key_has_the_line_of_the_old_one_which_is_refused_from_then_on(file: Path) -> None:
    file.write_text(f'# ours\n  services="rexec,ping"\tssh-ed25519\t{str(BARE).split()[1]}  alice@laptop \n{BOB}\n')
    file.chmod(0o640)
    assert follow(file, ALICE, NEW)
    text = file.read_text()
    assert text == (
        f'# ours\n  services="rexec,ping"\tssh-ed25519\t{str(NEW).split()[1]}  alice@laptop \n@revoked {ALICE}\n{BOB}\n'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    line, old, _ = read(file)
    assert (line.key, line.key.comment, line.services) == (NEW, "alice@laptop", frozenset({"rexec", "ping"}))
    assert old == Line(None, None, ALICE, is_revoked=True)
    assert not follow(file, ALICE, BOB)  # once
    assert file.read_text() == text


def test_the_last_line_may_lack_its_end(file: Path) -> None:
    file.write_text(f"{BOB}\n{BARE}")
    assert follow(file, ALICE, NEW)
    assert [(line.key, line.is_revoked) for line in read(file)] == [(BOB, False), (NEW, False), (ALICE, True)]


def test_a_new_key_that_has_a_line_keeps_that(file: Path) -> None:
    file.write_text(f'{ALICE}\nservices="ping" {NEW}\n')
    assert follow(file, ALICE, NEW)
    assert read(file) == [
        Line(None, None, ALICE, is_revoked=True),
        Line(frozenset({"ping"}), None, NEW),
    ]


@pytest.mark.parametrize("text", [f"{BOB}\n", f"@revoked {ALICE}\n", f"# {ALICE}\n", ""])
def test_a_key_without_a_line_has_no_successor(text: str, file: Path) -> None:
    file.write_text(text)
    assert not follow(file, ALICE, NEW)
    assert file.read_text() == text


def test_an_authority_has_no_successor(file: Path) -> None:
    file.write_text(AUTHORITY)
    assert not follow(file, CA, NEW)
    assert file.read_text() == AUTHORITY


def test_what_cannot_be_written_is_an_error_and_changes_nothing(file: Path) -> None:
    with pytest.raises(TrustFormatError, match="trust: No such file"):
        follow(file, ALICE, NEW)
    assert not file.exists()
    filled = f"{ALICE}\n".encode().ljust(FILE_MAX, b"#")
    file.write_bytes(filled)
    with pytest.raises(TrustFormatError, match="larger than"):
        follow(file, ALICE, NEW)
    assert file.read_bytes() == filled
