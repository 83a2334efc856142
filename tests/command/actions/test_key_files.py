"""Keys that are made, told apart and listed."""

import base64
import stat
from pathlib import Path

import pytest

from chanlink import AgentError, Identity, KeyFormatError
from chanlink.command.actions.key_files import (
    agent_keys,
    holds_private_key,
    make_private_key,
    make_shared_secret,
    write_secret,
)

pytestmark = pytest.mark.anyio


def test_a_private_key_that_was_made_is_one_that_can_be_loaded(tmp_path: Path) -> None:
    text, public = make_private_key("alice@laptop")
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    assert Identity.load(tmp_path / "key").public_key == public
    assert public.comment == "alice@laptop"
    assert make_private_key("alice@laptop")[1] != public


def test_a_shared_secret_is_thirty_two_bytes_in_base64_and_another_one_each_time() -> None:
    secret = make_shared_secret()
    assert len(base64.b64decode(secret, validate=False)) == 32
    assert secret.endswith("=\n")
    assert secret != make_shared_secret()


def test_a_secret_is_for_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "secret"
    write_secret(str(file), "first\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(KeyFormatError, match="exists"):
        write_secret(str(file), "second\n")
    assert file.read_text() == "first\n"


def test_a_private_key_is_told_from_a_public_one_whatever_its_mode(tmp_path: Path) -> None:
    Identity.generate("alice").save(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    assert holds_private_key(str(tmp_path / "key"))
    assert not holds_private_key(str(tmp_path / "key.pub"))
    with pytest.raises(KeyFormatError, match="missing"):
        holds_private_key(str(tmp_path / "missing"))


async def test_without_an_agent_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(AgentError):
        await agent_keys()
