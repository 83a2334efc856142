"""Which key the server at an address has, and the file that says so."""

import multiprocessing
import os
import stat
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chanlink import ConfigError, Identity, KnownPeers, PublicKey, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.security.keys.credential import HOST, Credential
from chanlink.security.keys.known_lines import PATTERN_MAX, WILDCARDS_MAX
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.successor import LIFE, Successor
from chanlink.security.keys.trust import Grant, Issued
from chanlink.transport.address import DEFAULT_PORT, Address
from chanlink.transport.target import Target, parse_target
from tests.patience import lines_run, takes_less

from .credentials import CA
from .programs import needs_ssh_keygen, ssh_keygen

ALICE = Identity.generate("alice")
SERVER = Identity.generate("server.example")
KEY, OTHER, THIRD = SERVER.public_key, Identity.generate("other").public_key, Identity.generate("third").public_key
BARE = PublicKey(KEY.raw)
ADDRESS = "tcp://build.example:1234"
NAME = "[build.example]:1234"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_peers"


def known(file: Path, text: str, **options: Any) -> KnownPeers:
    file.write_text(text)
    return KnownPeers.load(file, **options)


def knows(file: Path, text: str, address: str = ADDRESS, key: PublicKey = KEY) -> bool:
    return known(file, text).find(address, key) is not None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "address", "is_meant"),
    [
        ("[build.example]:1234", "tcp://build.example:1234", True),
        ("[build.example]:1234", "tcp://BUILD.example:1234", True),
        ("[Build.Example]:1234", "tcp://build.example:1234", True),
        ("[build.example]:1234", "tcp://build.example:1235", False),
        ("[build.example]:1234", "tcp://build.example", False),
        ("[build.example]:9323", "tcp://build.example", True),
        ("build.example", "tcp://build.example", True),
        ("build.example", "tcp://build.example:9323", True),
        ("build.example", "tcp://build.example:1234", False),
        ("one,two,build.example", "tcp://build.example", True),
        ("[::1]:9323", "tcp://[::1]", True),
        ("::1", "tcp://[::1]", True),
        ("192.0.2.1", "tcp://192.0.2.1", True),
        ("unix:/run/it", "unix:/run/it", True),
        ("unix:/run/it", "unix:/run/IT", False),
        ("unix:/RUN/it", "unix:/run/it", False),
        ("*", "unix:/run/it", True),
        ("*", "tcp://anything:1", True),
        ("*.example", "tcp://build.example", True),
        ("[*.example]:*", "tcp://build.example:77", True),
        ("*.example", "tcp://example", False),
        ("b?ild.example", "tcp://build.example", True),
        ("b?uild.example", "tcp://build.example", False),
        ("*.example,!build.example", "tcp://build.example", False),
        ("!build.example,*.example", "tcp://build.example", False),
        ("*.example,!build.example", "tcp://test.example", True),
        ("!build.example", "tcp://test.example", False),
        ("chanlink://web1", "chanlink://web1", True),
        ("chanlink://web1", "chanlink://Web1", False),
        ("chanlink://web1", "chanlink://web12", False),
        ("chanlink://web1", "tcp://web1", False),
        ("other,chanlink://web1", "chanlink://web1", True),
        ("chanlink://web*", "chanlink://web1", True),
        ("chanlink://web*,!chanlink://web1", "chanlink://web1", False),
        ("chanlink://web*", "tcp://web1", False),
        ("*", "chanlink://web1", False),
        ("*web1", "chanlink://web1", False),
        ("*://*", "chanlink://web1", False),
        ("?hanlink://web1", "chanlink://web1", False),
        ("web1", "chanlink://web1", False),
        ("[web1]:9323", "chanlink://web1", False),
        ("*l*l*x*", "tcp://build.local.example", True),
        ("*l*l*x", "tcp://build.local.example", False),
    ],
)
def test_names_are_compared_as_ssh_compares_them(patterns: str, address: str, is_meant: bool, file: Path) -> None:
    assert knows(file, f"{patterns} {KEY}\n", address) is is_meant


def test_file_with_comments_other_types_and_windows_line_ends_is_read(file: Path) -> None:
    text = (
        f"# build servers\r\n\r\n  \t\r\n{NAME}\t{BARE}  build server\r\n"
        f"{NAME} ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ\r\n{NAME} ecdsa-sha2-nistp256 AAAA x\r\n"
        f"@revoked {NAME} ssh-rsa AAAA"
    )
    grant = known(file, text).find(ADDRESS, KEY)
    assert grant is not None
    assert (grant.name, grant.services) == ("build server", None)


def test_name_of_a_server_without_a_comment_is_its_fingerprint(file: Path) -> None:
    grant = known(file, f"{NAME} {BARE}").find(ADDRESS, KEY)
    assert grant is not None
    assert grant.name == KEY.fingerprint


def test_server_may_have_several_keys_and_no_other(file: Path) -> None:
    text = f"{NAME} {KEY}\n{NAME} {OTHER}\n"
    assert knows(file, text)
    assert knows(file, text, key=OTHER)
    with pytest.raises(WrongPeer) as caught:
        knows(file, text, key=THIRD)
    assert caught.value.expected == f"{KEY.fingerprint} or {OTHER.fingerprint}"
    assert caught.value.actual == THIRD.fingerprint


@pytest.mark.parametrize("revocation", ["@revoked *", f"@revoked {NAME}", "@revoked  [*.example]:*"])
@pytest.mark.parametrize("first", [True, False])
def test_revoked_wins_wherever_it_stands(revocation: str, first: bool, file: Path) -> None:
    lines = [f"{revocation} {KEY}", f"{NAME} {KEY}"]
    with pytest.raises(UntrustedPeer, match="revoked") as caught:
        knows(file, "\n".join(lines if first else reversed(lines)))
    assert caught.value.fingerprint == KEY.fingerprint


def test_revocation_is_for_the_servers_that_it_names(file: Path) -> None:
    assert knows(file, f"@revoked elsewhere {KEY}\n{NAME} {KEY}")
    assert not knows(file, f"@revoked * {OTHER}")  # nor does it make a key known


@pytest.mark.parametrize("patterns", ["*", "chanlink://web1", "elsewhere,*", "chanlink://*"])
def test_what_is_revoked_for_all_is_revoked_for_names_in_a_directory(patterns: str, file: Path) -> None:
    with pytest.raises(UntrustedPeer, match="revoked"):
        knows(file, f"chanlink://web1 {KEY}\n@revoked {patterns} {KEY}", "chanlink://web1")
    assert knows(file, f"chanlink://web1 {KEY}\n@revoked web1 {KEY}", "chanlink://web1")


def test_revocation_wins_over_first_use(file: Path) -> None:
    peers = known(file, f"@revoked * {KEY}\n", first_use=True)
    with pytest.raises(UntrustedPeer):
        peers.add(ADDRESS, KEY)
    assert file.read_text() == f"@revoked * {KEY}\n"


HASH = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"@Revoked * {KEY}", "marker '@Revoked'"),
        (f"@ * {KEY}", "marker '@'"),
        (f"{NAME}", "not of the form"),
        (f"{NAME} ssh-ed25519", "not of the form"),
        (f"{KEY}", "type 'AAAA"),
        (f"{NAME} ssh-ed25519x AAAA", "type 'ssh-ed25519x'"),
        (f"@revoked * ssh-ed2551 {str(KEY).split()[1]}", "type 'ssh-ed2551'"),
        (f"{NAME} ssh-ed25519 AAAA", "cut short"),
        (f"{NAME} 1024 35 7", "type '1024'"),
        (f",{NAME} {KEY}", "name of a server"),
        (f"! {KEY}", "name of a server"),
        (f"{NAME},| {KEY}", "name of a server"),
        (f"{'x' * (PATTERN_MAX + 1)} {KEY}", "name of a server"),
        (f"{HASH},{NAME} {KEY}", "hashed name"),
        (f"{HASH[:-3]} {KEY}", "hashed name"),
        (f"|2{HASH[2:]} {KEY}", "hashed name"),
        (f"{NAME} {KEY} {'x' * 8192}", "longer than 8192"),
        (f"{NAME} {KEY}\x1b[0m", "printable"),
    ],
)
def test_line_that_is_not_understood_is_an_error(line: str, problem: str, file: Path) -> None:
    with pytest.raises(TrustFormatError, match=f"known_peers:2: .*{problem}") as caught:
        known(file, f"# first\n{line}\n")
    assert "\n" not in str(caught.value)


def test_file_may_have_a_mebibyte_and_no_more(file: Path) -> None:
    known(file, "#" * 1024 + "\n" * (1024 * 1024 - 1024))
    with pytest.raises(TrustFormatError, match="larger than"):
        known(file, "\n" * (1024 * 1024 + 1))


@pytest.mark.slow
def test_wildcards_have_a_bound_and_then_compare_quickly(file: Path) -> None:
    wild = "*" + "a" * (PATTERN_MAX // 2) + "b"
    peers = known(file, f"{wild} {KEY}\n" * WILDCARDS_MAX)
    address = "tcp://" + "a" * (PATTERN_MAX - 10)
    assert peers.find(address, KEY) is None
    assert takes_less(lambda: peers.find(address, KEY), 3)
    with pytest.raises(TrustFormatError, match=f"more than {WILDCARDS_MAX} patterns"):
        known(file, f"{wild} {KEY}\n" * (WILDCARDS_MAX + 1))
    known(file, f"@revoked * {KEY}\n" * (WILDCARDS_MAX + 1))


def test_file_that_is_not_utf_8_or_not_readable_is_an_error(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"\n\xff")
    with pytest.raises(TrustFormatError, match="known_peers:2: not UTF-8"):
        KnownPeers.load(file)
    for name in (tmp_path, file / "below", "nul\0byte"):
        with pytest.raises(TrustFormatError):
            KnownPeers.load(name)


def test_missing_file_knows_nobody(file: Path) -> None:
    assert KnownPeers.load(file).find(ADDRESS, KEY) is None
    assert not file.exists()


def test_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert KnownPeers.load().path == tmp_path / ".config" / "chanlink" / "known_peers"


@pytest.mark.parametrize("address", ["tcp://a,b", "tcp://*", "tcp://!a", "unix:/run/my socket", "tcp://" + "a" * 300])
def test_address_that_cannot_stand_in_the_file_is_refused(address: str, file: Path) -> None:
    with pytest.raises(ConfigError, match="peer="):
        KnownPeers.load(file, first_use=True).add(address, KEY)
    assert not file.exists() or not file.read_text()


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [ADDRESS, "tcp://Build.example", "tcp://[::1]:5", "unix:/run/it", "chanlink://Web-1.example"]
)
def test_added_key_is_known(address: str, tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "known_peers"
    before = os.umask(0)
    try:
        KnownPeers.load(file).add(address, KEY)
    finally:
        os.umask(before)
    assert KnownPeers.load(file).find(address, KEY) is not None
    assert [mode(path) for path in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]
    assert os.listdir(file.parent) == ["known_peers"]
    assert "server.example" not in file.read_text()  # the comment that a key comes with is nobody's word


def test_adding_keeps_what_stands_there_and_the_mode_and_adds_a_key_once(file: Path) -> None:
    peers = known(file, f"# mine\nelsewhere {OTHER}")  # without a line end
    file.chmod(0o640)
    for _ in range(2):
        peers.add(ADDRESS, KEY)
    assert file.read_text() == f"# mine\nelsewhere {OTHER}\n{NAME} {BARE}\n"
    assert mode(file) == 0o640


def test_a_link_to_the_file_stays_one(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file.symlink_to(tmp_path / "real" / "peers")
    KnownPeers.load(file).add(ADDRESS, KEY)
    assert file.is_symlink()
    assert (tmp_path / "real" / "peers").read_text() == f"{NAME} {BARE}\n"


def test_key_is_not_added_when_another_process_has_added_another_one(file: Path) -> None:
    peers = KnownPeers.load(file, first_use=True)
    file.write_text(f"{NAME} {OTHER}\n")
    with pytest.raises(WrongPeer):
        peers.add(ADDRESS, KEY)
    assert file.read_text() == f"{NAME} {OTHER}\n"


def test_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrustFormatError, match="file"):
        KnownPeers(tmp_path / "file" / "peers", ()).add(ADDRESS, KEY)


def add_many(path: str, writer: int, keys: list[str]) -> None:
    for number, key in enumerate(keys):
        KnownPeers.load(path).add(f"tcp://host{writer}-{number}:1", PublicKey.parse(key))


@pytest.mark.slow
def test_processes_that_add_at_the_same_time_lose_nothing_and_nobody_reads_half_a_line(file: Path) -> None:
    writers, each = 4, 15
    keys = [str(Identity.generate().public_key) for _ in range(each)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_many, args=(str(file), number, keys)) for number in range(writers)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        KnownPeers.load(file)  # each time whole lines
        time.sleep(0.001)
    assert [process.exitcode for process in processes] == [0] * writers
    assert len(file.read_text().splitlines()) == writers * each
    assert os.listdir(file.parent) == ["known_peers"]


# --- authorities --------------------------------------------------------------------------------

ORG = CA("our hosts")
HERE = "@cert-authority *.example,!bad.example"
BUILD = Address("Build.example", 1234)
NOW = 1_000


def shown(*principals: str, key: PublicKey = KEY, ca: CA = ORG, **options: Any) -> Presented:
    return Presented(key, ca.issue(key, *principals or ("build.example",), type=HOST, **options))


def refusal(file: Path, text: str, presented: Presented, address: Target = BUILD) -> str:
    with pytest.raises(UntrustedPeer) as caught:
        known(file, text)._admit(address, presented, NOW)
    assert (caught.value.fingerprint, caught.value.key) == (presented.key.fingerprint, "")
    return caught.value.advice


@pytest.mark.parametrize("port", [1234, DEFAULT_PORT])
@pytest.mark.parametrize("pattern", ["*.example", "build.example", "Build.Example", "*", "other,build.example"])
def test_a_host_that_an_authority_vouches_for_is_admitted_at_any_port(pattern: str, port: int, file: Path) -> None:
    presented = shown("other.example", "build.example")
    grant = known(file, f"@cert-authority {pattern} {ORG.key}\n")._admit(Address("BUILD.example", port), presented, NOW)
    assert presented.credential is not None
    issued = Issued("our hosts", "build.example", presented.credential)
    assert grant == Grant("build.example@our hosts", None, None, issued)


def test_the_port_may_be_named_as_for_a_key(file: Path) -> None:
    assert known(file, f"@cert-authority [build.example]:1234 {ORG.key}")._admit(BUILD, shown(), NOW) is not None
    assert known(file, f"@cert-authority [build.example]:1235 {ORG.key}")._admit(BUILD, shown(), NOW) is None


@pytest.mark.parametrize("pattern", ["*", "unix:*", "chanlink://*", "*web1", "chanlink://web1", "unix:/web1"])
@pytest.mark.parametrize("address", ["unix:/web1", "chanlink://web1"])
def test_nobody_vouches_for_a_socket_or_a_name_of_a_directory(pattern: str, address: str, file: Path) -> None:
    presented = shown("web1", "/web1", "unix:/web1", "chanlink://web1")
    assert known(file, f"@cert-authority {pattern} {ORG.key}")._admit(parse_target(address), presented, NOW) is None


@pytest.mark.parametrize(
    ("presented", "problem"),
    [
        (Presented(KEY), "says who vouches for build.example, and it has shown no credential"),
        (shown(ca=CA()), "which does not vouch for build.example"),
        (shown("other.example"), "build.example is none of the hosts of its credential (other.example)"),
        (shown("Build.example"), "is none of the hosts"),
        (shown("*.example"), "is none of the hosts"),
        (shown("[build.example]:1234"), "is none of the hosts"),
        (Presented(KEY, ORG.issue(KEY, "build.example")), "one of a user"),
        (Presented(KEY, ORG.issue(OTHER, "build.example", type=HOST)), "one of another key"),
        (shown(after=NOW + 1), "not valid before"),
        (shown(before=NOW), "has ended"),
        (shown(force_command="date"), "the critical option 'force-command'"),
        (shown(source_address="0.0.0.0/0"), "the critical option 'source-address'"),
        (shown(options={"x@example": b""}), "the critical option 'x@example'"),
    ],
)
def test_where_an_authority_vouches_for_hosts_one_without_a_good_credential_is_refused(
    presented: Presented, problem: str, file: Path
) -> None:
    assert problem in refusal(file, f"{HERE} {ORG.key}", presented)
    with pytest.raises(UntrustedPeer):  # nor is its key taken on first use
        known(file, f"{HERE} {ORG.key}", first_use=True)._admit(BUILD, presented, NOW)


def test_elsewhere_a_credential_says_nothing(file: Path) -> None:
    peers = known(file, f"{HERE} {ORG.key}\nother {OTHER}\n")
    for host in ("bad.example", "example", "elsewhere"):
        assert peers._admit(Address(host, 1), shown(host), NOW) is None
    assert peers.find(ADDRESS, KEY) is None  # what is known of a key alone is nothing


def test_a_key_that_the_file_has_of_the_server_decides_alone(file: Path) -> None:
    text = f"{HERE} {ORG.key}\n{NAME} {OTHER}\n"
    with pytest.raises(WrongPeer):
        known(file, text)._admit(BUILD, shown(), NOW)
    grant = known(file, text)._admit(BUILD, Presented(OTHER), NOW)
    assert grant == Grant("other", None)
    assert known(file, text)._admit(BUILD._replace(port=7), shown(), NOW) is not None  # that line is of one port


@pytest.mark.parametrize("pattern", ["*", "*.example", "[build.example]:1234"])
def test_who_is_revoked_vouches_for_nobody_and_is_not_vouched_for(pattern: str, file: Path) -> None:
    line = f"{HERE} {ORG.key}\n"
    assert "the authority of its credential is revoked" in refusal(file, f"{line}@revoked {pattern} {ORG.key}", shown())
    assert "says that it is revoked" in refusal(file, f"{line}@revoked {pattern} {KEY}", shown())
    assert known(file, f"{line}@revoked elsewhere {ORG.key}")._admit(BUILD, shown(), NOW) is not None


def test_the_key_of_an_authority_is_no_servers(file: Path) -> None:
    assert not knows(file, f"@cert-authority * {KEY}\n")
    assert known(file, f"@cert-authority * {KEY}\n{NAME} {KEY}").find(ADDRESS, KEY) is not None


def test_thousands_of_lines_are_little_work_for_each(file: Path) -> None:
    """Plain keys, revoked ones and authorities; what each costs does not grow with the file."""
    costs = []
    for count in (100, 2_000):
        markers = ("", "@revoked ", "@cert-authority ")
        text = "".join(f"{markers[number % 3]}host{number} {OTHER}\n" for number in range(count))
        peers = known(file, f"{text}{HERE} {ORG.key}\n")
        assert peers._admit(BUILD, shown(), NOW) is not None
        calls = partial(KnownPeers.load, file), partial(peers._admit, BUILD, shown(), NOW)
        costs.append(sum(map(lines_run, calls)) / count)
    assert costs[1] < 400
    assert costs[1] < 1.5 * costs[0]


def test_several_authorities_may_vouch_for_a_host(file: Path) -> None:
    second = CA("second")
    peers = known(file, f"@cert-authority *.example {ORG.key}\n@cert-authority build.* {second.key}\n")
    for ca in (ORG, second):
        assert peers._admit(BUILD, shown(ca=ca), NOW) is not None


@needs_ssh_keygen
def test_a_credential_by_ssh_keygen_for_a_host_is_taken(file: Path, tmp_path: Path) -> None:
    ORG.identity.save(tmp_path / "ca")
    (tmp_path / "host.pub").write_text(f"{KEY}\n")
    ssh_keygen("-q", "-s", tmp_path / "ca", "-I", "x", "-h", "-n", "build.example,b", tmp_path / "host.pub")
    presented = Presented(KEY, Credential.load(tmp_path / "host-cert.pub"))
    assert known(file, f"{HERE} {ORG.key}")._admit(BUILD, presented, NOW) is not None


# --- a new key for an old name ------------------------------------------------------------------


def succession(new: PublicKey = OTHER, time: int = NOW, old: Identity = SERVER) -> Presented:
    return Presented(new, None, Successor(old.public_key, new, time, b""))


def test_a_new_key_takes_the_lines_of_the_old_one_once_and_that_is_revoked(file: Path) -> None:
    peers = known(file, f"# ours\n{NAME} {KEY}\nchanlink://web1 {KEY}\n", first_use=False)
    assert peers._admit(BUILD, succession(), NOW) == Grant("server.example", None)
    assert peers._follow(BUILD, succession(), NOW)
    text = file.read_text()
    named = PublicKey(OTHER.raw, "server.example")
    assert text == f"# ours\n{NAME} {named}\nchanlink://web1 {named}\n@revoked * {BARE}\n"
    assert not peers._follow(BUILD, succession(), NOW)
    assert file.read_text() == text
    now = KnownPeers.load(file)
    for address in (ADDRESS, "chanlink://web1"):
        assert now.find(address, OTHER) == Grant("server.example", None)
        with pytest.raises(UntrustedPeer):
            now.find(address, KEY)


def test_the_name_of_a_key_without_a_comment_is_its_own_fingerprint(file: Path) -> None:
    assert known(file, f"{NAME} {BARE}")._admit(BUILD, succession(), NOW) == Grant(OTHER.fingerprint, None)


def test_whoever_comes_second_with_the_old_key_is_refused(file: Path) -> None:
    peers = known(file, f"{NAME} {KEY}\n")
    peers._follow(BUILD, succession(OTHER), NOW)
    text = file.read_text()
    with pytest.raises(WrongPeer):  # by what it had read before, this process would follow
        peers._follow(BUILD, succession(THIRD), NOW)
    with pytest.raises(WrongPeer):
        KnownPeers.load(file)._admit(BUILD, succession(THIRD), NOW)
    assert file.read_text() == text


def test_a_new_key_may_have_a_successor_itself(file: Path) -> None:
    old = Identity.generate("old")
    peers = known(file, f"{NAME} {old.public_key}\n")
    assert peers._follow(BUILD, succession(KEY, old=old), NOW)
    assert KnownPeers.load(file)._follow(BUILD, succession(THIRD), NOW)
    assert KnownPeers.load(file).find(ADDRESS, THIRD) == Grant("old", None)
    with pytest.raises(UntrustedPeer):  # and nobody comes back that way
        KnownPeers.load(file)._admit(BUILD, Presented(KEY, None, Successor(THIRD, KEY, NOW, b"")), NOW)


@pytest.mark.parametrize(
    ("text", "presented"),
    [
        (f"{NAME} {THIRD}", succession()),
        (f"{NAME} {KEY}", Presented(OTHER)),
        (f"{NAME} {KEY}", succession(time=NOW + 301)),
        (f"{NAME} {KEY}", succession(time=NOW - LIFE - 1)),
        (f"{NAME} {KEY}", Presented(OTHER, None, Successor(KEY, THIRD, NOW, b""))),
        (f"{NAME} {KEY}\n@revoked * {KEY}", succession()),
        (f"{NAME} {KEY}\n@revoked * {OTHER}", succession()),
    ],
    ids=["unknown", "nothing shown", "of the future", "over", "of another key", "old is revoked", "new is revoked"],
)
def test_what_is_no_successor_of_a_known_key_is_not_followed(text: str, presented: Presented, file: Path) -> None:
    peers = known(file, text)
    assert peers._follows(BUILD, presented, NOW) is None
    for call in (peers._admit, peers._follow):
        with pytest.raises((WrongPeer, UntrustedPeer)):
            call(BUILD, presented, NOW)
    assert file.read_text() == text


def test_a_stranger_is_not_followed_and_an_authority_has_no_successor(file: Path) -> None:
    assert known(file, "")._admit(BUILD, succession(), NOW) is None
    assert known(file, f"@cert-authority other {KEY}")._admit(BUILD, succession(), NOW) is None
    assert "no credential" in refusal(file, f"@cert-authority * {KEY}", succession())


# --- with OpenSSH -------------------------------------------------------------------------------


@needs_ssh_keygen
def test_names_hashed_by_ssh_keygen_are_read(file: Path) -> None:
    file.write_text(f"{NAME} {KEY}\nbuild.example {OTHER}\n@revoked {NAME} {THIRD}\n")
    ssh_keygen("-H", "-f", file)
    assert file.read_text().count("|1|") >= 2
    assert "build.example" not in file.read_text().replace(f"@revoked {NAME}", "")
    peers = KnownPeers.load(file)
    assert peers.find(ADDRESS, KEY) is not None
    assert peers.find("tcp://build.example", OTHER) is not None
    assert peers.find("tcp://build.example:77", KEY) is None
    with pytest.raises(WrongPeer):
        peers.find(ADDRESS, OTHER)
    with pytest.raises(UntrustedPeer, match="revoked"):
        peers.find(ADDRESS, THIRD)


@needs_ssh_keygen
def test_what_we_add_is_found_by_ssh_keygen(file: Path) -> None:
    KnownPeers.load(file).add(ADDRESS, KEY)
    assert str(BARE) in ssh_keygen("-F", NAME, "-f", file).stdout.decode()
