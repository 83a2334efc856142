"""Identities, in memory and in files."""

import base64
import errno
import os
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.errors import KeyFormatError
from chanlink.security.keys import openssh
from chanlink.security.keys.credential import HOST, Credential
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.successor import LIFE, Successor

from .credentials import CA, FOREVER, save
from .programs import needs_ssh_keygen, ssh_keygen

ALICE = Identity.generate("alice@laptop")
MALLORY = Identity.generate("mallory")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- identities ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_identity_signs_as_rfc_8032_says(tmp_path: Path) -> None:
    # RFC 8032 section 7.1, test 2
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = PublicKey(bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"))
    (tmp_path / "key").write_text(openssh.format_private_key(seed, key))
    (tmp_path / "key").chmod(0o600)
    identity = Identity.load(tmp_path / "key")
    assert identity.public_key == key
    assert (await identity.sign(b"\x72")).hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@pytest.mark.anyio
async def test_identity_signs_with_the_signer_that_it_was_given() -> None:
    async def agent(data: bytes) -> bytes:
        await anyio.sleep(0)
        return await ALICE.sign(data)

    identity = Identity(ALICE.public_key, agent)
    assert ALICE.public_key.verify(b"data", await identity.sign(b"data"))


def test_generated_identities_differ() -> None:
    assert ALICE.public_key != MALLORY.public_key
    assert ALICE.public_key.comment == "alice@laptop"


def test_repr_shows_the_fingerprint_and_nothing_of_the_secret(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    seed, _ = openssh.parse_private_key((tmp_path / "key").read_bytes())
    shown = repr(ALICE) + repr(ALICE._signer)
    assert ALICE.public_key.fingerprint in shown
    for secret in (seed.hex(), base64.b64encode(seed).decode(), repr(seed)[2:-1]):
        assert secret not in shown


# --- saving -------------------------------------------------------------------------------------


def test_saved_identity_is_loaded(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    loaded = Identity.load(tmp_path / "key")
    assert loaded.public_key == ALICE.public_key
    assert loaded.public_key.comment == "alice@laptop"
    assert PublicKey.load(tmp_path / "key.pub") == ALICE.public_key
    assert ALICE.public_key.verify(b"data", anyio.run(loaded.sign, b"data"))


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_saved_files_and_directories_have_the_modes_of_ssh(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        ALICE.save(tmp_path / "a" / "b" / "key")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "b" / "key") == 0o600
    assert mode(tmp_path / "a" / "b" / "key.pub") == 0o644
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["key", "key.pub"]


def test_secret_is_never_in_a_file_that_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, int]] = []
    real_fchmod, real_link = os.fchmod, os.link

    def fchmod(descriptor: int, new: int) -> None:
        assert os.fstat(descriptor).st_size == 0
        events.append(("made", stat.S_IMODE(os.fstat(descriptor).st_mode)))
        real_fchmod(descriptor, new)

    def link(source: Path, target: Path) -> None:
        events.append((target.name, mode(source)))
        real_link(source, target)

    monkeypatch.setattr("chanlink.security.keys.files.os.fchmod", fchmod)
    monkeypatch.setattr("chanlink.security.keys.files.os.link", link)
    before = os.umask(0)
    try:
        ALICE.save(tmp_path / "key")
    finally:
        os.umask(before)
    assert events == [("made", 0o600), ("key", 0o600), ("key.pub", 0o644)]


def test_a_key_on_a_file_system_without_modes_is_made_with_a_word_about_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make, chmod = tempfile.mkstemp, os.chmod

    def make_open_to_all(**options: Any) -> tuple[int, str]:
        descriptor, name = make(**options)
        chmod(name, 0o755)
        return descriptor, name

    def refuse(descriptor: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("tempfile.mkstemp", make_open_to_all)
    monkeypatch.setattr("os.fchmod", refuse)
    ALICE.save(tmp_path / "key")
    assert caplog.messages == [
        f"{tmp_path / 'key'}: its file system keeps no modes (this one is 755): others may be able to read it"
    ]
    with pytest.raises(KeyFormatError, match="others can read this private key"):  # as ssh refuses it
        Identity.load(tmp_path / "key")


@pytest.mark.parametrize("existing", ["key", "key.pub"])
def test_existing_file_is_never_overwritten(existing: str, tmp_path: Path) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(KeyFormatError, match=f"{existing}: File exists") as caught:
        ALICE.save(tmp_path / "key")
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert os.listdir(tmp_path) == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_private_half_never_appears_when_a_public_one_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.pub").touch()
    monkeypatch.setattr("chanlink.security.keys.files.os.link", pytest.fail)
    with pytest.raises(KeyFormatError, match="File exists"):
        ALICE.save(tmp_path / "key")


def test_dangling_link_is_not_followed_when_saving(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFormatError, match="File exists"):
        ALICE.save(tmp_path / "key")
    assert os.listdir(tmp_path) == ["key"]


def test_nothing_is_left_when_the_public_half_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def fails_for_public(source: str, target: Path) -> None:
        if target.suffix == ".pub":
            raise OSError(28, "No space left on device", source, None, target)
        link(source, target)

    monkeypatch.setattr("chanlink.security.keys.files.os.link", fails_for_public)
    with pytest.raises(KeyFormatError, match=r"key\.pub: No space left"):
        ALICE.save(tmp_path / "key")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["file/key", "file/further/key", "nul\0byte", "", "/"])
def test_place_that_can_hold_no_file_is_a_key_format_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFormatError):
        ALICE.save(tmp_path / name if name else "")
    assert os.listdir(tmp_path) == ["file"]


def test_secret_that_is_elsewhere_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match="not in this process"):
        Identity(ALICE.public_key, ALICE.sign).save(tmp_path / "key")


# --- loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o644, 0o660, 0o620, 0o601])
def test_private_key_open_to_others_is_refused(bits: int, tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    (tmp_path / "key").chmod(bits)
    with pytest.raises(KeyFormatError, match=f"chmod 600 {tmp_path}/key") as caught:
        Identity.load(tmp_path / "key")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bits", [0o600, 0o400, 0o700])
def test_private_key_open_to_its_owner_alone_is_read(bits: int, tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    (tmp_path / "key").chmod(bits)
    assert Identity.load(tmp_path / "key").public_key == ALICE.public_key


def test_private_key_that_is_not_ours_may_be_open_to_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ALICE.save(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    monkeypatch.setattr("os.getuid", lambda: (tmp_path / "key").stat().st_uid + 1)
    assert Identity.load(tmp_path / "key").public_key == ALICE.public_key


def test_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ALICE.save("~/keys/mine")
    assert (tmp_path / "keys" / "mine").exists()
    assert Identity.load("~/keys/mine").public_key == ALICE.public_key
    assert PublicKey.load("~/keys/mine.pub") == ALICE.public_key


@pytest.mark.parametrize("name", ["missing", "missing/key", ".", "nul\0byte"])
def test_file_that_cannot_be_opened_is_a_key_format_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match=r"No such file|Is a directory|null byte"):
        Identity.load(tmp_path / name)


def test_unknown_home_directory_is_a_key_format_error() -> None:
    with pytest.raises(KeyFormatError, match="no-such-user"):
        Identity.load("~no-such-user/key")


def test_file_too_large_for_a_key_is_refused(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    text = (tmp_path / "key").read_bytes()
    (tmp_path / "key").write_bytes(text.ljust(64 * 1024, b"\n"))
    with pytest.raises(KeyFormatError, match="does not end where the file ends"):  # it was read
        Identity.load(tmp_path / "key")
    (tmp_path / "key").write_bytes(text.ljust(64 * 1024 + 1, b"\n"))
    with pytest.raises(KeyFormatError, match="larger than 65536 bytes"):
        Identity.load(tmp_path / "key")


def test_malformed_private_key_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe nonsense")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(KeyFormatError, match=r"key: not an OpenSSH private key file; .* ssh-keygen -t ed25519"):
        Identity.load(tmp_path / "key")


# --- the default identity -----------------------------------------------------------------------


@pytest.mark.parametrize("variable", [None, ""])
def test_default_identity_is_made_at_first_use(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CHANLINK_IDENTITY", raising=False)
    if variable is not None:
        monkeypatch.setenv("CHANLINK_IDENTITY", variable)
    identity = Identity.default()
    assert identity.public_key == Identity.load(tmp_path / ".config" / "chanlink" / "id_ed25519").public_key
    assert identity.public_key == Identity.default().public_key
    assert identity.public_key.comment.startswith("chanlink@")


def test_environment_names_the_default_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "mine"))
    ALICE.save(tmp_path / "mine")
    assert Identity.default().public_key == ALICE.public_key
    assert not (tmp_path / "home").exists()


def test_default_identity_that_cannot_be_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "mine"))
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "mine").chmod(0o600)
    with pytest.raises(KeyFormatError, match="mine: not an OpenSSH"):
        Identity.default()
    assert (tmp_path / "mine").read_text() == "precious"


def test_default_identity_is_not_made_beside_a_foreign_public_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "mine"))
    (tmp_path / "mine.pub").write_text(str(ALICE.public_key))
    with pytest.raises(KeyFormatError, match=r"mine\.pub: File exists"):
        Identity.default()
    assert os.listdir(tmp_path) == ["mine.pub"]


def test_loser_of_the_race_for_the_first_use_takes_the_key_of_the_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "mine"))
    link = os.link

    def link_too_late(source: str, target: Path) -> None:
        monkeypatch.setattr("chanlink.security.keys.files.os.link", link)
        ALICE.save(target)
        link(source, target)

    monkeypatch.setattr("chanlink.security.keys.files.os.link", link_too_late)
    assert Identity.default().public_key == ALICE.public_key
    assert PublicKey.load(tmp_path / "mine.pub") == ALICE.public_key
    assert sorted(os.listdir(tmp_path)) == ["mine", "mine.pub"]


def test_all_who_race_for_the_first_use_get_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    racers = 8
    for lap in range(10):
        monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / str(lap) / "mine"))
        start = threading.Barrier(racers)

        def race(start: threading.Barrier = start) -> PublicKey:
            start.wait()
            return Identity.default().public_key

        with ThreadPoolExecutor(racers) as pool:
            keys = {future.result() for future in [pool.submit(race) for _ in range(racers)]}
        assert keys == {PublicKey.load(tmp_path / str(lap) / "mine.pub")}


@pytest.mark.anyio
async def test_no_identity_means_the_default_one_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "mine"))
    trust = chanlink.Trust.of(ALICE.public_key)
    async with chanlink.listen("tcp://127.0.0.1:0", trust=trust) as listener:
        assert mode(tmp_path / "mine") == 0o600
        ours = PublicKey.load(tmp_path / "mine.pub")
        with pytest.raises(chanlink.UntrustedPeer) as caught:
            async with chanlink.connect(listener.addresses[0], peer=ours):
                pytest.fail("there is a session")
        assert caught.value.fingerprint == ours.fingerprint
        async with chanlink.connect(listener.addresses[0], identity=ALICE, peer=ours) as session:
            assert session.peer.key == ours


# --- with OpenSSH -------------------------------------------------------------------------------


@needs_ssh_keygen
@pytest.mark.parametrize("comment", ["", "a", "al", "ali", "alic", "alice", "alice@", "alice@l", "alice and Zoë"])
def test_key_made_by_ssh_keygen_is_loaded(comment: str, tmp_path: Path) -> None:
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", tmp_path / "key")
    identity = Identity.load(tmp_path / "key", passphrase="not needed")
    assert identity.public_key == PublicKey.load(tmp_path / "key.pub")
    assert str(identity.public_key) == (tmp_path / "key.pub").read_text(encoding="utf-8").rstrip()
    assert identity.public_key.comment == comment


@needs_ssh_keygen
def test_key_that_we_saved_is_read_by_ssh_keygen(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    assert ssh_keygen("-y", "-f", tmp_path / "key").stdout.decode() == f"{ALICE.public_key}\n"
    for file in ("key", "key.pub"):
        words = ssh_keygen("-lf", tmp_path / file).stdout.decode().split()
        assert words == ["256", ALICE.public_key.fingerprint, "alice@laptop", "(ED25519)"]


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["-t", "rsa", "-b", "2048", "-N", ""], "type 'ssh-rsa'"),
        (["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"], "not an OpenSSH private key file"),
        (["-t", "rsa", "-b", "2048", "-N", "", "-m", "PKCS8"], "not an OpenSSH private key file"),
        (["-t", "ecdsa", "-N", ""], "type 'ecdsa-sha2-nistp256'"),
    ],
)
def test_key_that_we_cannot_use_is_refused_with_advice(options: list[str], problem: str, tmp_path: Path) -> None:
    ssh_keygen("-q", *options, "-f", tmp_path / "key")
    with pytest.raises(KeyFormatError, match=f'{problem}.*ssh-keygen -t ed25519 -N "" -f FILE') as caught:
        Identity.load(tmp_path / "key", passphrase="secret")
    assert "\n" not in str(caught.value)


# --- what vouches for a key ---------------------------------------------------------------------

ORG = CA("org")


def saved(tmp_path: Path, credential: Credential) -> Path:
    ALICE.save(tmp_path / "key")
    save(credential, tmp_path / "key")
    return tmp_path / "key"


@pytest.mark.anyio
async def test_the_credential_beside_a_key_is_shown_to_who_asks_for_its_type(tmp_path: Path) -> None:
    credential = ORG.issue(ALICE.public_key)
    identity = Identity.load(saved(tmp_path, credential))
    assert await identity.credential() == credential
    assert await identity.credential(HOST) is None
    assert await identity.successor() is None
    assert await ALICE.credential() is None  # it is in no file


@pytest.mark.anyio
async def test_a_renewed_credential_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path, ORG.issue(ALICE.public_key))
    identity = await Identity.aload(path)
    newer = ORG.issue(ALICE.public_key, key_id="newer, and longer")
    save(newer, path)
    assert await identity.credential() == newer


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("after", "before", "problem"),
    [(0, 1, "has ended at 1970-01-01 00:00:01 UTC"), (FOREVER - 1, FOREVER, "is not valid before the end of time")],
)
async def test_a_credential_out_of_its_time_is_not_shown_and_logged_once(
    after: int, before: int, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity.load(saved(tmp_path, ORG.issue(ALICE.public_key, after=after, before=before)))
    assert [await identity.credential() for _ in range(3)] == [None] * 3
    assert [message.removesuffix("; it is not shown").endswith(problem) for message in caplog.messages] == [True]


@pytest.mark.anyio
async def test_whose_place_a_key_takes_is_said_for_its_time(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    now = int(time.time())
    identity = Identity.load(tmp_path / "key")
    for made, shown in ((now - LIFE - 60, False), (now, True)):
        successor = await Successor.made(MALLORY, ALICE.public_key, made)
        (tmp_path / "key-successor").unlink(missing_ok=True)
        (tmp_path / "key-successor").write_text(f"{successor}\n")
        assert (await identity.successor() == successor) is shown


def test_what_lies_beside_a_key_and_is_not_of_it_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path, ORG.issue(MALLORY.public_key))
    with pytest.raises(KeyFormatError, match=r"key-cert\.pub: it is of the key"):
        Identity.load(path)


@pytest.mark.anyio
async def test_a_key_that_is_elsewhere_shows_what_lies_beside_a_file(tmp_path: Path) -> None:
    credential = ORG.issue(ALICE.public_key)
    save(credential, tmp_path / "key")  # and no key there
    elsewhere = Identity(ALICE.public_key, ALICE.sign)
    identity = elsewhere.showing(tmp_path / "key")
    assert await identity.credential() == credential
    assert await elsewhere.credential() is None
    assert ALICE.public_key.verify(b"data", await identity.sign(b"data"))
    assert identity.signs_here is elsewhere.signs_here
    with pytest.raises(KeyFormatError, match="it is of the key"):
        MALLORY.showing(tmp_path / "key")


def test_a_key_whose_name_has_no_room_for_more_is_loaded(tmp_path: Path) -> None:
    ALICE.save(tmp_path / ("k" * 250))
    assert Identity.load(tmp_path / ("k" * 250)).public_key == ALICE.public_key
