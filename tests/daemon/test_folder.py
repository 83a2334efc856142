"""The daemon's folder: what is in it, and that nobody else may read it."""

import os
from pathlib import Path

import pytest

from chanlink.daemon.folder import KEY, Folder
from chanlink.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.made(tmp_path / "daemon", "groups = false\n", "host@here")


def test_a_folder_that_was_made_is_opened_with_the_same_identity(folder: Folder) -> None:
    opened = Folder.opened(folder.path)
    assert opened.host().public_key == folder.host().public_key
    assert opened.host().public_key.comment == "host@here"
    assert opened.instance == folder.instance
    assert len(opened.instance) == 16


def test_everything_in_it_is_for_its_owner_alone(folder: Folder) -> None:
    folder.add_user("alice", "alice@here")
    public = set(folder.path.rglob("*.pub"))
    for file in [folder.path, *folder.path.rglob("*")]:
        assert file in public or file.stat().st_mode & 0o077 == 0, file


def test_a_folder_is_not_made_twice(folder: Folder) -> None:
    with pytest.raises(ConfigError, match="File exists"):
        Folder.made(folder.path, "", "")


def test_a_folder_that_is_none_says_what_makes_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="chanlink daemon init"):
        Folder.opened(tmp_path)


def test_a_folder_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Folder.opened(tmp_path / "missing")


@pytest.mark.parametrize("what", [".", "host", "users", "users/alice", f"host/{KEY}", f"users/alice/{KEY}"])
def test_a_folder_that_others_can_read_is_not_opened(folder: Folder, what: str) -> None:
    folder.add_user("alice", "")
    (folder.path / what).chmod(0o740 if (folder.path / what).is_dir() else 0o640)
    with pytest.raises(ConfigError, match="others can read"):
        Folder.opened(folder.path)


def test_a_link_is_not_followed_to_keys(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (folder.path / "users" / "eve").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link"):
        Folder.opened(folder.path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_somebody_else_is_not_opened(folder: Folder) -> None:
    os.chown(folder.path / "users", 12_345, -1)
    with pytest.raises(ConfigError, match=r"belongs to the user 12345, .* do this as 12345"):
        Folder.opened(folder.path)


def test_each_user_has_an_identity_of_its_own(folder: Folder) -> None:
    keys = {name: folder.add_user(name, f"{name}@here") for name in ("alice", "bob")}
    assert keys["alice"] != keys["bob"]
    assert folder.users() == keys
    for name, key in keys.items():
        identity = folder.user(name)
        assert identity is not None
        assert identity.public_key == key


def test_a_user_without_an_identity_has_none(folder: Folder) -> None:
    assert folder.user("alice") is None
    assert folder.state_of("alice") is None


def test_the_identity_of_a_user_is_never_overwritten(folder: Folder) -> None:
    key = folder.add_user("alice", "")
    with pytest.raises(ConfigError, match=r"alice has a key already; .*alice/id_ed25519\.pub"):
        folder.add_user("alice", "")
    assert folder.users() == {"alice": key}


def test_an_identity_that_others_can_read_is_not_used_also_later(folder: Folder) -> None:
    folder.add_user("alice", "")
    (folder.path / "users" / "alice" / KEY).chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        folder.user("alice")


def test_another_identity_is_another_state(folder: Folder) -> None:
    folder.add_user("alice", "")
    before = folder.state_of("alice")
    for file in (folder.path / "users" / "alice").iterdir():
        file.unlink()
    folder.add_user("alice", "")
    assert folder.state_of("alice") != before


def test_what_is_no_instance_is_said(folder: Folder) -> None:
    (folder.path / "instance").write_text("00ff")
    with pytest.raises(ConfigError, match="2 bytes"):
        _ = folder.instance
    (folder.path / "instance").write_text("what")
    with pytest.raises(ConfigError, match="instance: not 32 hexadecimal digits"):
        _ = folder.instance
    (folder.path / "instance").unlink()
    with pytest.raises(ConfigError, match=r"instance: No such file or directory\Z") as caught:
        _ = folder.instance
    assert str(caught.value).count("instance: ") == 1
