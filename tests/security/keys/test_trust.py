"""Who may connect, and the file that says so."""

from pathlib import Path

import pytest

from chanlink.errors import TrustFormatError, UntrustedPeer
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.revocations import Revocations
from chanlink.security.keys.successor import LIFE, Successor
from chanlink.security.keys.trust import Grant, Issued, Trust, name_of

from .credentials import CA
from .test_issuers import Listed

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


def test_a_line_may_give_a_key_names_in_a_directory(file: Path) -> None:
    file.write_text(f'names="web1,web_2.example" {ALICE}\nservices="directory",names="web1" {BOB}\n{BARE}\n')
    trust = Trust.load(file)
    assert trust.check(ALICE) == Grant("alice@laptop", None, frozenset({"web1", "web_2.example"}))
    assert trust.check(BOB) == Grant("bob", frozenset({"directory"}), frozenset({"web1"}))
    assert trust.check(BARE) == Grant(BARE.fingerprint, None)


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
        (f"cert-authority {ALICE}", 'cert-authority needs issuer="..."'),
        (f'services="ping",restrict {ALICE}', "the option 'restrict' is not known"),
        (f'restrict,services="ping" {ALICE}', "the option 'restrict' is not known"),
        (f"services {ALICE}", "the option 'services' is not known in this form"),
        (f'services="ping",services="rexec" {ALICE}', "stands twice"),
        (f'services="" {ALICE}', "not the name of a service"),
        (f'services="ping," {ALICE}', "not the name of a service"),
        (f'services="ping, rexec" {ALICE}', "not the name of a service"),
        (f'names="web1",names="web2" {ALICE}', "stands twice"),
        (f'names="" {ALICE}', "not a name in a directory"),
        (f'names="web*" {ALICE}', "not a name in a directory"),
        (f'names="web1, web2" {ALICE}', "not a name in a directory"),
        (f'names="{"a" * 201}" {ALICE}', "not a name in a directory"),
        (f"names {ALICE}", "the option 'names' is not known in this form"),
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


def test_a_private_key_in_the_place_of_a_trust_file_is_named_as_such(tmp_path: Path) -> None:
    Identity.generate("alice").save(tmp_path / "alice")
    with pytest.raises(TrustFormatError, match=r"alice:1: that is a private key; the public one is needed here"):
        Trust.load(tmp_path / "alice")


# --- authorities --------------------------------------------------------------------------------

ORG = CA("org")
AUTHORITY = f'cert-authority,issuer="example",principals="alice,bob",services="rexec" {ORG.key}'


def loaded(file: Path, *lines: object) -> Trust:
    file.write_text("".join(f"{line}\n" for line in lines))
    return Trust.load(file)


def refusal(trust: Trust, presented: Presented, revocations: Revocations | None = None) -> str:
    with pytest.raises(UntrustedPeer) as caught:
        trust.admit(presented, 0, revocations)
    assert caught.value.fingerprint == presented.key.fingerprint
    return caught.value.advice


def test_whom_an_authority_vouches_for_is_called_by_principal_and_issuer(file: Path) -> None:
    credential = ORG.issue(MALLORY, "nobody", "bob")
    grant = loaded(file, AUTHORITY).admit(Presented(MALLORY, credential), 0)
    assert grant == Grant("bob@example", frozenset({"rexec"}), None, Issued("example", "bob", credential))


def test_authorities_of_two_organizations_do_not_speak_for_each_other(file: Path) -> None:
    other = CA("other")
    line = f'cert-authority,issuer="partner",principals="carol",services="ping" {other.key}'
    trust = loaded(file, AUTHORITY, line)
    ours, theirs = (Presented(MALLORY, ca.issue(MALLORY, "bob", "carol")) for ca in (ORG, other))
    assert [trust.admit(one, 0).name for one in (ours, theirs)] == ["bob@example", "carol@partner"]
    assert trust.admit(theirs, 0).services == {"ping"}
    assert "carol" in refusal(trust, Presented(MALLORY, ORG.issue(MALLORY, "carol")))


def test_a_key_alone_is_none_that_an_authority_vouches_for(file: Path) -> None:
    trust = loaded(file, AUTHORITY)
    assert trust.check(MALLORY) is None
    assert trust.check(ORG.key) is None
    assert refusal(trust, Presented(MALLORY)) == ""
    assert "no authority here" in refusal(trust, Presented(MALLORY, CA().issue(MALLORY)))


def test_the_own_line_of_a_key_decides_alone(file: Path) -> None:
    trust = loaded(file, AUTHORITY, f'services="ping" {ALICE}')
    assert trust.admit(Presented(ALICE, ORG.issue(ALICE)), 0) == Grant("alice@laptop", frozenset({"ping"}))
    expired = ORG.issue(ALICE, before=0)
    assert trust.admit(Presented(ALICE, expired), 0) == Grant("alice@laptop", frozenset({"ping"}))


def test_a_key_that_the_file_refuses_is_let_in_by_nothing(file: Path) -> None:
    trust = loaded(file, AUTHORITY, ALICE, f"@revoked {ALICE}", BOB)
    assert trust.check(ALICE) is None
    assert refusal(trust, Presented(ALICE, ORG.issue(ALICE))) == "its key is revoked"
    assert trust.check(BOB) is not None


def test_an_authority_that_the_file_refuses_vouches_for_nobody(file: Path) -> None:
    trust = loaded(file, f"@revoked {ORG.key}", AUTHORITY)
    assert "no authority here" in refusal(trust, Presented(ALICE, ORG.issue(ALICE)))


def test_what_a_list_revokes_is_refused_also_with_a_line_of_its_own(file: Path) -> None:
    trust = loaded(file, AUTHORITY, ALICE)
    assert refusal(trust, Presented(ALICE), Revocations(Listed(ALICE))) == "its key is revoked"
    credential = ORG.issue(BOB)
    assert refusal(trust, Presented(BOB, credential), Revocations(Listed(credential))) == "its credential is revoked"
    assert trust.admit(Presented(ALICE), 0, Revocations(Listed(credential))).name == "alice@laptop"


def test_a_line_with_a_list_lets_nobody_in_without_it(file: Path) -> None:
    trust = loaded(file, AUTHORITY.replace(",services", ',revoked="/krl",services'))
    presented = Presented(BOB, ORG.issue(BOB, "bob"))
    assert "was not read (/krl)" in refusal(trust, presented)
    assert trust.admit(presented, 0, Revocations(None, {"/krl": Listed()})).name == "bob@example"


def test_whom_all_may_be_an_authority_says_nothing_of() -> None:
    grant = Trust.anyone(["ping"]).admit(Presented(BOB, ORG.issue(BOB)), 0)
    assert grant == Grant(BOB.fingerprint, frozenset({"ping"}))


@pytest.mark.parametrize(
    ("comment", "is_name"),
    [
        ("alice@laptop", True),
        ("ssh-jump", True),
        ("ssh keys AAAA", True),
        ("", False),
        ("SHA256:" + "A" * 43, False),
        ("SHA256:", False),
        ("MD5:00", False),
        ("AAAAC3Nza", False),
        (str(ALICE), False),
        (f"ssh-ed25519   {str(ALICE).split()[1]}", False),
        ("ecdsa-sha2-nistp256 AAAA", False),
    ],
)
def test_no_name_looks_like_a_key_that_its_owner_does_not_have(comment: str, is_name: bool, file: Path) -> None:
    """Rules of a policy name keys and names in one list."""
    key = PublicKey(BOB.raw, comment)
    name = comment if is_name else BOB.fingerprint
    assert name_of(key) == name
    for trust in (Trust.of(key), loaded(file, key)):
        grant = trust.check(BOB)
        assert grant is not None
        assert grant.name == name


# --- a key in the place of another --------------------------------------------------------------


def succession(new: PublicKey = BOB, old: PublicKey = ALICE, time: int = 0) -> Presented:
    return Presented(new, None, Successor(old, new, time, b""))


def test_a_key_that_comes_in_the_place_of_another_has_its_rights_and_its_name(file: Path) -> None:
    trust = loaded(file, f'services="ping",names="web1" {ALICE}', BARE)
    assert trust.admit(succession(), 0) == Grant("alice@laptop", frozenset({"ping"}), frozenset({"web1"}))
    assert trust.admit(succession(old=BARE), 0) == Grant(BOB.fingerprint, None)
    assert trust.check(BOB) is None  # a trust does not change


def test_it_is_a_credential_that_counts_where_there_is_one(file: Path) -> None:
    trust = loaded(file, AUTHORITY, ALICE)
    presented = succession()._replace(credential=ORG.issue(BOB))
    assert trust.admit(presented, 0).name == "alice@example"
    expired = succession()._replace(credential=ORG.issue(BOB, before=0))
    assert trust.admit(expired, 0).name == "alice@laptop"


@pytest.mark.parametrize(
    ("presented", "now"),
    [
        (succession(), LIFE + 1),
        (succession(time=301), 0),
        (succession(old=MALLORY), 0),
        (Presented(BOB, None, Successor(ALICE, MALLORY, 0, b"")), 0),
        (succession(old=ORG.key), 0),
    ],
    ids=["over", "of the future", "of a stranger", "of another key", "of an authority"],
)
def test_what_is_no_successor_of_a_key_with_a_line_is_nobody(presented: Presented, now: int, file: Path) -> None:
    trust = loaded(file, AUTHORITY, ALICE)
    assert trust._followed(presented, now) is None
    with pytest.raises(UntrustedPeer):
        trust.admit(presented, now)


def test_a_key_that_is_refused_has_no_successor_and_is_none(file: Path) -> None:
    assert refusal(loaded(file, ALICE, f"@revoked {ALICE}"), succession()) == ""
    assert refusal(loaded(file, ALICE, f"@revoked {BOB}"), succession()) == "its key is revoked"
    for revoked in ALICE, BOB:
        assert "is revoked" in refusal(loaded(file, ALICE), succession(), Revocations(Listed(revoked)))


def test_a_trust_that_follows_refuses_the_old_key(file: Path) -> None:
    trust = loaded(file, f'services="ping" {ALICE}', AUTHORITY)._following(ALICE, BOB)
    assert trust.check(BOB) == Grant("alice@laptop", frozenset({"ping"}))
    assert trust.check(ALICE) is None
    for presented in (Presented(ALICE), Presented(ALICE, ORG.issue(ALICE)), succession(old=BOB, new=ALICE)):
        assert refusal(trust, presented) == "its key is revoked"
    assert refusal(trust, succession(new=MALLORY)) == ""  # the first one has won
    assert (trust.path, trust.issuers.all[0].label) == (file, "example")


def test_a_new_key_that_has_a_line_keeps_that(file: Path) -> None:
    trust = loaded(file, ALICE, f'services="ping" {BOB}')._following(ALICE, BOB)
    assert trust.grants == {BOB: Grant("bob", frozenset({"ping"}))}
    assert trust._following(MALLORY, ALICE).grants == trust.grants
