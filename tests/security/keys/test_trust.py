"""Who may connect, and the file that says so."""

from pathlib import Path

import pytest

from chanlink.errors import TrustFormatError
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant, Trust

ALICE, BOB, MALLORY = (Identity.generate(name).public_key for name in ("alice@laptop", "bob", "mallory"))
BARE = PublicKey(Identity.generate().public_key.raw)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "authorized_peers"


# --- in memory ----------------------------------------------------------------------------------


def test_given_keys_are_trusted_for_all_services_and_no_others_are() -> None:
    trust = Trust.of(ALICE, BARE)
    assert trust.check(ALICE) == Grant("alice@laptop", None)
    assert trust.check(BARE) == Grant(BARE.fingerprint, None)
    assert trust.check(MALLORY) is None


def test_name_of_a_peer_is_ours_and_not_the_one_that_came_with_its_key() -> None:
    grant = Trust.of(ALICE).check(PublicKey(ALICE.raw, "root"))
    assert grant is not None
    assert grant.name == "alice@laptop"
    stranger = Trust.anyone(["ping"]).check(MALLORY)
    assert stranger is not None
    assert stranger.name == MALLORY.fingerprint


def test_anyone_may_use_the_named_services_and_no_others() -> None:
    grant = Trust.anyone(name for name in ("ping", "echo")).check(MALLORY)
    assert grant is not None
    assert [grant.allows(service) for service in ("ping", "echo", "rexec", "pin", "")] == [True, True] + 3 * [False]


@pytest.mark.parametrize("services", [[], (), "", "ping", [""], ["ping", " echo"], ["two words"], ["new\nline"]])
def test_anyone_needs_names_of_services(services: list[str]) -> None:
    with pytest.raises(TrustFormatError):
        Trust.anyone(services)


@pytest.mark.parametrize("trust", [Trust.nobody(), Trust.of()])
def test_nobody_is_trusted_unless_said_so(trust: Trust) -> None:
    assert trust.check(ALICE) is None


def test_grant_of_all_services_allows_each() -> None:
    assert Grant("alice", None).allows("rexec")
    assert not Grant("alice", frozenset()).allows("rexec")


# --- from a file --------------------------------------------------------------------------------


def test_trust_file_is_read(file: Path) -> None:
    file.write_text(
        f"""# our laptops

{ALICE}
   # indented
  services="rexec,ping" {BOB}\t
\tservices="ping"\t{str(BARE).replace(" ", " ")}
"""
    )
    trust = Trust.load(file)
    assert trust.check(ALICE) == Grant("alice@laptop", None)
    assert trust.check(BOB) == Grant("bob", frozenset({"rexec", "ping"}))
    assert trust.check(BARE) == Grant(BARE.fingerprint, frozenset({"ping"}))
    assert trust.check(MALLORY) is None


def test_comment_in_a_trust_file_may_have_spaces_and_any_letters(file: Path) -> None:
    file.write_text(f'{BARE} Zoë\'s "new" laptop # here\r\n', encoding="utf-8", newline="")
    assert Trust.load(file).check(BARE) == Grant('Zoë\'s "new" laptop # here', None)


@pytest.mark.parametrize(
    ("value", "services"),
    [
        (r"a\"b", {'a"b'}),
        (r"\"", {'"'}),
        (r"a\b,c\\d", {r"a\b", r"c\\d"}),
        ("a=b,#c", {"a=b", "#c"}),
        ("ping,ping", {"ping"}),
    ],
)
def test_quoted_value_is_read_as_sshd_reads_it(value: str, services: set[str], file: Path) -> None:
    file.write_text(f'services="{value}" {ALICE}\n')
    assert Trust.load(file).check(ALICE) == Grant("alice@laptop", frozenset(services))


def test_trust_file_may_have_windows_line_ends(file: Path) -> None:
    file.write_text(f"# one\r\n\r\n{ALICE}\r\n", newline="")
    assert Trust.load(file).check(ALICE) == Grant("alice@laptop", None)


def test_empty_trust_file_trusts_nobody(file: Path) -> None:
    file.write_text("")
    assert Trust.load(file).check(ALICE) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f'from="10.0.0.1" {ALICE}', "the option 'from' is not known"),
        (f'service="ping" {ALICE}', "the option 'service' is not known"),
        (f'SERVICES="ping" {ALICE}', "the option 'SERVICES' is not known"),
        (f"restrict {ALICE}", "the option 'restrict' is not known"),
        (f"cert-authority {ALICE}", "the option 'cert-authority' is not known"),
        (f'services="ping",restrict {ALICE}', "the option 'restrict' is not known"),
        (f'restrict,services="ping" {ALICE}', "the option 'restrict' is not known"),
        (f"services {ALICE}", "the option 'services' is not known in this form"),
        (f'services="ping",services="rexec" {ALICE}', "stands twice"),
        (f'services="" {ALICE}', "not the name of a service"),
        (f'services="ping," {ALICE}', "not the name of a service"),
        (f'services="ping, rexec" {ALICE}', "not the name of a service"),
        (f"services=ping {ALICE}", "not of the form"),
        (f'services="ping {ALICE}', "not of the form"),
        (f'services="ping\\" {ALICE}', "not of the form"),
        (f'services="ping"{ALICE}', "not of the form"),
        (f'services="ping", {ALICE}', "not of the form"),
        (f',services="ping" {ALICE}', "not of the form"),
        ('services="ping"', "not of the form"),
        (f"!{ALICE}", "not of the form"),
        ("nonsense", "not of the form"),
        ("ssh-ed25519", "not of the form"),
        ("ssh-ed25519 AAAA", "cut short"),
        ("ssh-ed25519 !", "not base64"),
        (f"{ALICE}".replace("ssh-ed25519", "ssh-rsa"), "type 'ssh-rsa'"),
        ("ecdsa-sha2-nistp256 AAAA alice", "type 'ecdsa-sha2-nistp256'"),
        ("sk-ssh-ed25519@openssh.com AAAA alice", "type 'sk-ssh-ed25519@openssh.com'"),
        ('services="ping" ssh-rsa AAAA alice', "type 'ssh-rsa'"),
        (f"{ALICE} \x1b[31m", "printable"),
        (f"{ALICE}\r# more", "printable"),
        (f"{BOB} again", "stands on an earlier line"),
        (f'services="ping" {BOB}', "stands on an earlier line"),
    ],
)
def test_line_that_is_not_understood_is_an_error_and_no_grant(line: str, problem: str, file: Path) -> None:
    file.write_text(f"# one\n{BOB}\n{line}\n{MALLORY}\n", newline="")
    with pytest.raises(TrustFormatError, match=f"authorized_peers:3: .*{problem}") as caught:
        Trust.load(file)
    assert "\n" not in str(caught.value)


def test_line_may_have_8_kibibytes_and_no_more(file: Path) -> None:
    head, tail = 'services="ping', f'" {ALICE}'
    filling = 8 * 1024 - len(head) - len(tail)
    file.write_text(head + "g" * filling + tail)
    assert Trust.load(file).check(ALICE) is not None
    file.write_text(head + "g" * (filling + 1) + tail)
    with pytest.raises(TrustFormatError, match="authorized_peers:1: the line is longer than 8192"):
        Trust.load(file)


def test_line_that_is_not_utf_8_is_an_error(file: Path) -> None:
    file.write_bytes(f"# one\n{ALICE}\n".encode() + b"# \xff\n")
    with pytest.raises(TrustFormatError, match=r"authorized_peers:3: not UTF-8"):
        Trust.load(file)


def test_missing_trust_file_is_an_error(file: Path) -> None:
    with pytest.raises(TrustFormatError, match=r"authorized_peers: No such file"):
        Trust.load(file)


def test_trust_file_may_have_a_mebibyte_and_no_more(file: Path) -> None:
    text = f"{ALICE}\n".encode()
    file.write_bytes(text.ljust(1024 * 1024, b"#"))
    assert Trust.load(file).check(ALICE) is not None
    file.write_bytes(text.ljust(1024 * 1024 + 1, b"#"))
    with pytest.raises(TrustFormatError, match=r"authorized_peers: larger than 1048576 bytes"):
        Trust.load(file)


def test_every_cut_of_a_trust_line_is_an_error_or_grants_no_more(file: Path) -> None:
    line = f'services="rexec,ping" {BOB}'
    whole = len(line) - len(" bob")
    for length in range(1, len(line)):
        file.write_text(line[:length])
        if length < whole:
            with pytest.raises(TrustFormatError):
                Trust.load(file)
        else:
            grant = Trust.load(file).check(BOB)
            assert grant is not None
            assert grant.services == frozenset({"rexec", "ping"})


def test_home_directory_is_expanded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(str(ALICE))
    monkeypatch.setenv("HOME", str(file.parent))
    assert Trust.load(f"~/{file.name}").check(ALICE) is not None
