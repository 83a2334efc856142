"""Which key the server at an address has, and the file that says so."""

import multiprocessing
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from chanlink import ConfigError, Identity, KnownPeers, PublicKey, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.security.keys.known_peers import PATTERN_MAX, WILDCARDS_MAX
from chanlink.transport.address import parse_address
from tests.patience import processor_time

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
    return known(file, text).find(parse_address(address), key) is not None


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
    grant = known(file, text).find(parse_address(ADDRESS), KEY)
    assert grant is not None
    assert (grant.name, grant.services) == ("build server", None)


def test_name_of_a_server_without_a_comment_is_its_fingerprint(file: Path) -> None:
    grant = known(file, f"{NAME} {BARE}").find(parse_address(ADDRESS), KEY)
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


def test_revocation_wins_over_first_use(file: Path) -> None:
    peers = known(file, f"@revoked * {KEY}\n", first_use=True)
    with pytest.raises(UntrustedPeer):
        peers.add(parse_address(ADDRESS), KEY)
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


def test_wildcards_have_a_bound_and_then_compare_quickly(file: Path) -> None:
    wild = "*" + "a" * (PATTERN_MAX // 2) + "b"
    peers = known(file, f"{wild} {KEY}\n" * WILDCARDS_MAX)
    address = parse_address("tcp://" + "a" * (PATTERN_MAX - 10))
    assert peers.find(address, KEY) is None
    assert processor_time(lambda: peers.find(address, KEY)) < 3
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
    assert KnownPeers.load(file).find(parse_address(ADDRESS), KEY) is None
    assert not file.exists()


def test_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert KnownPeers.load().path == tmp_path / ".config" / "chanlink" / "known_peers"


@pytest.mark.parametrize("address", ["tcp://a,b", "tcp://*", "tcp://!a", "unix:/run/my socket", "tcp://" + "a" * 300])
def test_address_that_cannot_stand_in_the_file_is_refused(address: str, file: Path) -> None:
    with pytest.raises(ConfigError, match="peer="):
        KnownPeers.load(file, first_use=True).add(parse_address(address), KEY)
    assert not file.exists() or not file.read_text()


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [ADDRESS, "tcp://Build.example", "tcp://[::1]:5", "unix:/run/it"])
def test_added_key_is_known(address: str, tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "known_peers"
    before = os.umask(0)
    try:
        KnownPeers.load(file).add(parse_address(address), KEY)
    finally:
        os.umask(before)
    assert KnownPeers.load(file).find(parse_address(address), KEY) is not None
    assert [mode(path) for path in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]
    assert os.listdir(file.parent) == ["known_peers"]
    assert "server.example" not in file.read_text()  # the comment that a key comes with is nobody's word


def test_adding_keeps_what_stands_there_and_the_mode_and_adds_a_key_once(file: Path) -> None:
    peers = known(file, f"# mine\nelsewhere {OTHER}")  # without a line end
    file.chmod(0o640)
    for _ in range(2):
        peers.add(parse_address(ADDRESS), KEY)
    assert file.read_text() == f"# mine\nelsewhere {OTHER}\n{NAME} {BARE}\n"
    assert mode(file) == 0o640


def test_a_link_to_the_file_stays_one(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file.symlink_to(tmp_path / "real" / "peers")
    KnownPeers.load(file).add(parse_address(ADDRESS), KEY)
    assert file.is_symlink()
    assert (tmp_path / "real" / "peers").read_text() == f"{NAME} {BARE}\n"


def test_key_is_not_added_when_another_process_has_added_another_one(file: Path) -> None:
    peers = KnownPeers.load(file, first_use=True)
    file.write_text(f"{NAME} {OTHER}\n")
    with pytest.raises(WrongPeer):
        peers.add(parse_address(ADDRESS), KEY)
    assert file.read_text() == f"{NAME} {OTHER}\n"


def test_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrustFormatError, match="file"):
        KnownPeers(tmp_path / "file" / "peers", ()).add(parse_address(ADDRESS), KEY)


def add_many(path: str, writer: int, keys: list[str]) -> None:
    for number, key in enumerate(keys):
        KnownPeers.load(path).add(parse_address(f"tcp://host{writer}-{number}:1"), PublicKey.parse(key))


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


# --- with OpenSSH -------------------------------------------------------------------------------


@needs_ssh_keygen
def test_names_hashed_by_ssh_keygen_are_read(file: Path) -> None:
    file.write_text(f"{NAME} {KEY}\nbuild.example {OTHER}\n@revoked {NAME} {THIRD}\n")
    ssh_keygen("-H", "-f", file)
    assert file.read_text().count("|1|") >= 2
    assert "build.example" not in file.read_text().replace(f"@revoked {NAME}", "")
    peers = KnownPeers.load(file)
    assert peers.find(parse_address(ADDRESS), KEY) is not None
    assert peers.find(parse_address("tcp://build.example"), OTHER) is not None
    assert peers.find(parse_address("tcp://build.example:77"), KEY) is None
    with pytest.raises(WrongPeer):
        peers.find(parse_address(ADDRESS), OTHER)
    with pytest.raises(UntrustedPeer, match="revoked"):
        peers.find(parse_address(ADDRESS), THIRD)


@needs_ssh_keygen
def test_what_we_add_is_found_by_ssh_keygen(file: Path) -> None:
    KnownPeers.load(file).add(parse_address(ADDRESS), KEY)
    assert str(BARE) in ssh_keygen("-F", NAME, "-f", file).stdout.decode()
