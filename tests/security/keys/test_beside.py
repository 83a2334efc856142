"""Files beside a key: what they say, and when they are read."""

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from chanlink import Identity
from chanlink.errors import KeyFormatError
from chanlink.security.keys.beside import Beside, of_key
from chanlink.security.keys.successor import Successor

from .credentials import CA, save
from .programs import needs_ssh_keygen, ssh_keygen

pytestmark = pytest.mark.anyio

ORG = CA("org")
ALICE, OLD = Identity.generate("alice").public_key, Identity.generate("old")


def replace(path: Path, text: str) -> None:
    """As renewing programs do it: a new file each time, so that its state differs whatever the clock's grain is."""
    new = path.with_name("new")
    new.write_text(text)
    os.replace(new, path)


def read(path: Path) -> str:
    text = path.read_text()
    if text == "bad":
        raise KeyFormatError(f"{path}: bad")
    return text


async def test_a_file_is_read_when_it_has_changed_and_only_then(tmp_path: Path) -> None:
    times = []

    def count(path: Path) -> str:
        times.append(path)
        return read(path)

    beside = Beside(tmp_path / "file", count)
    beside.load()
    assert await beside.now() is None
    replace(tmp_path / "file", "one")
    assert [await beside.now() for _ in range(3)] == ["one"] * 3
    replace(tmp_path / "file", "two")
    assert await beside.now() == "two"
    assert len(times) == 2
    (tmp_path / "file").unlink()
    assert await beside.now() is None


async def test_one_that_can_not_be_read_any_more_changes_nothing_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace(tmp_path / "file", "good")
    beside = Beside(tmp_path / "file", read)
    beside.load()
    replace(tmp_path / "file", "bad")
    assert [await beside.now() for _ in range(3)] == ["good"] * 3
    assert caplog.messages == [f"{tmp_path / 'file'}: bad; what it said before goes on"]
    replace(tmp_path / "file", "better")
    assert await beside.now() == "better"


async def test_many_may_ask_at_the_same_time(tmp_path: Path) -> None:
    replace(tmp_path / "file", "one")
    beside = Beside(tmp_path / "file", read)
    beside.load()
    found = []

    async def ask() -> None:
        found.append(await beside.now())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
        replace(tmp_path / "file", "two")
    assert set(found) <= {"one", "two"}
    assert await beside.now() == "two"


async def test_a_file_that_is_bad_at_first_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bad")
    with pytest.raises(KeyFormatError, match="bad"):
        Beside(tmp_path / "file", read).load()


async def test_a_path_below_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("good")
    beside = Beside(tmp_path / "file" / "x", read)
    beside.load()
    assert await beside.now() is None


# --- of a key -----------------------------------------------------------------------------------


async def test_both_files_of_a_key_are_found(tmp_path: Path) -> None:
    credential, successor = ORG.issue(ALICE), await Successor.made(OLD, ALICE, 1_700_000_000)
    save(credential, tmp_path / "key")
    (tmp_path / "key-successor").write_text(f"{successor}\n")
    credentials, successors = of_key(tmp_path / "key", ALICE)
    assert await credentials.now() == (credential,)
    assert await successors.now() == successor


async def other_credential() -> object:
    return ORG.issue(ORG.key)


async def other_successor() -> object:
    return await Successor.made(OLD, ORG.key, 1_700_000_000)


@pytest.mark.parametrize(("name", "make"), [("key-cert.pub", other_credential), ("key-successor", other_successor)])
async def test_what_is_of_another_key_or_nothing_is_an_error(
    name: str, make: Callable[[], Awaitable[object]], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(str(await make()))
    with pytest.raises(KeyFormatError, match=re.escape(f"{name}: it is of the key {ORG.key.fingerprint}, not of ")):
        of_key(tmp_path / "key", ALICE)
    (tmp_path / name).write_text("nothing")
    with pytest.raises(KeyFormatError, match=f"{name}: not of the form"):
        of_key(tmp_path / "key", ALICE)


@needs_ssh_keygen
async def test_a_credential_of_an_authority_that_is_not_ours_may_lie_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ssh_keygen("-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ca")
    (tmp_path / "key.pub").write_text(f"{ALICE}\n")
    ssh_keygen("-q", "-s", tmp_path / "ca", "-I", "x", "-n", "alice", tmp_path / "key.pub")
    credentials, _ = of_key(tmp_path / "key", ALICE)
    assert await credentials.now() == ()
    assert len(caplog.messages) == 1
    assert "key of type 'ecdsa-sha2-nistp256'" in caplog.messages[0]
    assert caplog.messages[0].endswith("; it is not shown")
