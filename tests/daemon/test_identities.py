"""What the daemon authenticates its users with."""

import os
from pathlib import Path

import pytest

from chanlink.daemon import identities as identities_module
from chanlink.daemon.accounts import user_of
from chanlink.daemon.folder import Folder
from chanlink.daemon.identities import Identities
from chanlink.errors import ConfigError

OURS = user_of(os.getuid())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.made(tmp_path / "daemon", "groups = false\n", "host@here")


@pytest.mark.anyio
async def test_a_user_is_authenticated_by_its_own_key_and_not_the_hosts(folder: Folder) -> None:
    key = folder.add_user(OURS, "")
    user, statics = await Identities(folder).of(os.getuid())
    assert user == OURS
    assert statics is not None
    assert statics.identity.public_key == key != folder.host().public_key


@pytest.mark.anyio
async def test_the_static_key_of_a_user_is_kept(folder: Folder) -> None:
    folder.add_user(OURS, "")
    identities = Identities(folder)
    assert (await identities.of(os.getuid()))[1] is (await identities.of(os.getuid()))[1]


@pytest.mark.anyio
async def test_another_key_of_a_user_is_used_from_then_on_and_none_if_it_is_gone(folder: Folder) -> None:
    folder.add_user(OURS, "")
    identities = Identities(folder)
    await identities.of(os.getuid())
    for file in (folder.path / "users" / OURS).iterdir():
        file.unlink()
    assert await identities.of(os.getuid()) == (OURS, None)
    key = folder.add_user(OURS, "")
    _, statics = await identities.of(os.getuid())
    assert statics is not None
    assert statics.identity.public_key == key


@pytest.mark.anyio
async def test_a_user_without_a_name_is_an_error(folder: Folder) -> None:
    with pytest.raises(ConfigError, match="has no name"):
        await Identities(folder).of(3_999_999_999)


@pytest.mark.anyio
async def test_who_serves_needs_no_identity_and_no_name(folder: Folder) -> None:
    identities = Identities(folder)
    assert await identities.name(os.getuid()) == OURS
    assert await identities.name(3_999_999_999) == "3999999999"


@pytest.mark.anyio
async def test_no_more_static_keys_are_kept_than_may_be(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities_module, "MOST", 2)
    monkeypatch.setattr(identities_module, "user_of", lambda uid: f"user{uid}")
    identities = Identities(folder)
    for uid in range(4):
        folder.add_user(f"user{uid}", "")
        await identities.of(uid)
    assert list(identities._kept) == ["user2", "user3"]
