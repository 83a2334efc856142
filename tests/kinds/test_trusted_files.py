"""Files that say whom to trust and what may be done: what is no such file is refused, at once, by all who read it."""

import base64
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConfigError, Host, Identity, KnownPeers, Limits, PublicKey, SessionClosed, Trust, UntrustedPeer
from chanlink.security.keys.authority_files import TrustWatch
from chanlink.security.psk import load_psk
from examples.rexec.policy.file import PolicyError, PolicyFile
from examples.rexec.policy.file import load as load_policy
from tests.command.calls import Call, call  # noqa: F401  # a fixture
from tests.patience import PATIENCE

ALICE, SERVER, OTHER = (Identity.generate(name) for name in ("alice", "server", "other"))
ADDRESS = "tcp://build.example"
GOOD = {
    "trust": f"{ALICE.public_key}\n",
    "known": f"build.example {SERVER.public_key}\n",
    "policy": '[rules.all]\nkeys = ["*"]\n',
    "hosts": '[web]\naddress = "tcp://build.example"\n',
}
READERS: dict[str, list[Callable[[Any], object]]] = {
    "trust": [Trust.load],
    "known": [KnownPeers.load, lambda file: KnownPeers.load(file, first_use=True).add(ADDRESS, SERVER.public_key)],
    "policy": [load_policy, PolicyFile],
    "hosts": [Host.load_all, Host.load_each],
}
COMMANDS = {
    "trust": [["list"], ["add", str(OTHER.public_key)], ["revoke", "alice"], ["remove", "alice"]],
    "known": [["list"], ["add", "tcp://other", str(OTHER.public_key)], ["revoke", "server"], ["remove", "server"]],
}

every_kind = pytest.mark.parametrize("kind", GOOD)


def refusals(file: Path, kind: str, call: Call | None = None) -> list[str]:  # noqa: F811
    """What each of those who read such a file says of it."""
    found = []
    for read in READERS[kind]:
        with pytest.raises((ConfigError, PolicyError)) as caught:
            read(str(file))
        found.append(str(caught.value))
    for action, *words in COMMANDS.get(kind, []) if call is not None else []:
        assert call is not None
        called = call("peers", action, f"--{kind}", file, *words)
        assert (called.status, called.out) == (1, "")
        found.append(called.err)
    for text in found:
        assert str(file) in text
        assert "\n" not in text.strip()
    return found


@every_kind
@pytest.mark.parametrize("mode", [0o602, 0o666, 0o777, 0o662])
def test_what_everybody_can_write_is_refused_and_not_changed(kind: str, mode: int, tmp_path: Path, call: Call) -> None:  # noqa: F811
    file = tmp_path / kind
    file.write_text(GOOD[kind])
    file.chmod(mode)
    for text in refusals(file, kind, call):
        assert f"run: chmod o-w {file}" in text
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (GOOD[kind], mode)


@every_kind
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o444, 0o660])
def test_a_group_may_write_it_and_everybody_may_read_it(kind: str, mode: int, tmp_path: Path) -> None:
    """A umask of 002 is the default of many systems; and a mounted file has an owner that means nothing here."""
    file = tmp_path / kind
    file.write_text(GOOD[kind])
    file.chmod(mode)
    if os.geteuid() == 0:
        os.chown(file, 12_345, 12_345)
    tmp_path.chmod(0o777)  # that of a volume in a container, which is mounted to be read only
    for read in READERS[kind]:
        read(str(file))


@every_kind
def test_a_pipe_is_refused_and_nobody_waits_for_it(kind: str, tmp_path: Path, call: Call) -> None:  # noqa: F811
    file = tmp_path / kind
    os.mkfifo(file, 0o600)
    for text in refusals(file, kind, call):
        assert "no regular file" in text
    ours, theirs = os.pipe()
    os.write(theirs, GOOD[kind].encode())
    try:
        refusals(Path(f"/dev/fd/{ours}"), kind)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a device")
def test_the_null_device_knows_nobody_and_stays_one(tmp_path: Path) -> None:
    file = tmp_path / "null"
    os.mknod(file, stat.S_IFCHR | 0o666, os.stat(os.devnull).st_rdev)
    assert Trust.load(file).check(ALICE.public_key) is None
    known = KnownPeers.load(file, first_use=True)
    assert known.find(ADDRESS, SERVER.public_key) is None
    known.add(ADDRESS, SERVER.public_key)
    assert stat.S_ISCHR(file.stat().st_mode)
    assert [file] == list(tmp_path.iterdir())
    zero = tmp_path / "zero"
    os.mknod(zero, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    for kind in ("trust", "known"):
        assert "no regular file" in refusals(zero, kind)[0]


MARKS = {
    "byte order mark": "\ufeff",
    "zero byte": "\0",
    "carriage return": "\r",
    "no-break space": "\xa0",
    "zero-width space": "\u200b",
    "line separator": "\u2028",
    "form feed": "\f",
    "next line": "\x85",
    "soft hyphen": "\xad",
}


@every_kind
@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_a_character_that_nobody_sees_is_an_error_wherever_it_stands(
    kind: str,
    mark: str,
    tmp_path: Path,
    call: Call,  # noqa: F811
) -> None:
    """Else a known server would be one of another name, and its new key the first one."""
    file = tmp_path / kind
    places = (0, 1, 5, GOOD[kind].index(" ") + 3) if kind in ("trust", "known") else (0, 2)
    for place in places:
        file.write_text(GOOD[kind][:place] + mark + GOOD[kind][place:], newline="")
        for text in refusals(file, kind, call):
            assert mark not in text
    assert file.read_bytes().decode().count(mark) == 1


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("place", [0, 3])
def test_so_it_is_in_a_file_with_a_key(mark: str, place: int, tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    shared = tmp_path / "shared"
    shared.write_text(base64.b64encode(bytes(range(32))).decode() + "\n")
    for file, read in ((tmp_path / "key", Identity.load), (tmp_path / "key.pub", PublicKey.load), (shared, load_psk)):
        file.chmod(0o600)
        read(file)
        if mark.isspace() and mark.isascii() and place == 0 and read is load_psk:
            continue  # before its 44 characters it changes none of them
        text = file.read_text()
        file.write_text(text[:place] + mark + text[place:], newline="")
        with pytest.raises(ConfigError) as caught:
            read(file)
        assert file.name in str(caught.value)
        assert mark not in str(caught.value)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
@every_kind
def test_another_coding_than_utf_8_is_an_error(kind: str, coding: str, tmp_path: Path) -> None:
    file = tmp_path / kind
    file.write_bytes(GOOD[kind].encode(coding))
    refusals(file, kind)


@pytest.mark.anyio
async def test_a_byte_order_mark_does_not_make_a_known_server_a_new_one(tmp_path: Path) -> None:
    async with chanlink.listen("tcp://127.0.0.1:0", identity=OTHER, trust=Trust.of(ALICE.public_key)) as listener:
        (address,) = listener.addresses
        file = tmp_path / "known"
        file.write_text(f"[127.0.0.1]:{address.rpartition(':')[2]} {SERVER.public_key}\n", encoding="utf-8-sig")
        before = file.read_bytes()
        with pytest.raises(chanlink.TrustFormatError, match=r"known:1: .*U\+FEFF, a byte order mark"):
            async with chanlink.connect(address, identity=ALICE, trust=KnownPeers(file, (), first_use=True)):
                pytest.fail("it is taken for the right one")
        assert file.read_bytes() == before


def test_lines_of_known_hosts_that_allow_nothing_here_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    line = f"build.example {SERVER.public_key}\n"
    others = (
        f"@cert-authority *.example {OTHER.public_key}\n@cert-authority * ssh-rsa AAAAB3NzaC1yc2E ca\n"
        "build.example ssh-rsa AAAAB3NzaC1yc2E\n@revoked * ssh-rsa AAAAB3NzaC1yc2E\n"
        "build.example ecdsa-sha2-nistp256 AAAA\nbuild.example sk-ssh-ed25519@openssh.com AAAA\n"
    )
    file.write_text(others + line + others)
    known = KnownPeers.load(file)
    assert known.find(ADDRESS, SERVER.public_key) is not None
    with pytest.raises(chanlink.WrongPeer):
        known.find(ADDRESS, OTHER.public_key)  # that of the authority is nobody's
    file.write_text(others + f"@revoked * {SERVER.public_key}\n" + line)
    with pytest.raises(UntrustedPeer):
        KnownPeers.load(file).find(ADDRESS, SERVER.public_key)


def test_a_key_of_another_type_in_a_trust_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f"{ALICE.public_key}\nssh-rsa AAAAB3NzaC1yc2E bob\n")
    with pytest.raises(chanlink.TrustFormatError, match=r"authorized_keys:2: .*'ssh-rsa'.*a trust file of its own"):
        Trust.load(file)


# --- while a server runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["everybody", "pipe"])
def test_what_can_be_trusted_no_more_leaves_things_as_they_are_until_it_is_mended(problem: str, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(GOOD["trust"])
    watch = TrustWatch(Trust.load(file))
    watch.look()
    watch.look()
    if problem == "everybody":
        file.chmod(0o666)
        file.write_text(f"{OTHER.public_key}\n")
    else:
        file.unlink()
        os.mkfifo(file)
    assert watch.look() is None
    with pytest.raises(chanlink.TrustFormatError):
        watch.look()
    assert watch.look() is None
    if problem == "everybody":
        file.chmod(0o644)
    else:
        file.unlink()
        file.write_text("")
    assert watch.look() is None
    trust = watch.look()
    assert trust is not None
    assert trust.check(ALICE.public_key) is None


@pytest.mark.anyio
async def test_a_pipe_in_the_place_of_a_trust_file_does_not_stop_the_watch(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(GOOD["trust"])
    threads = threading.active_count()
    options: dict[str, Any] = {"trust": Trust.load(file), "limits": Limits(trust_interval=0.01)}
    async with (
        chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, **options) as listener,
        chanlink.connect(listener.addresses[0], identity=ALICE, peer=SERVER.public_key) as session,
    ):
        file.unlink()
        os.mkfifo(file)
        await anyio.sleep(0.05)  # a few looks; if there were none, the rest would be as good
        file.unlink()
        file.write_text("")
        with anyio.fail_after(PATIENCE):
            cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"
    assert threading.active_count() <= threads + 1  # one that waits for work
