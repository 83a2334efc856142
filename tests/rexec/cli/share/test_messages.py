"""Where a client and the keeper meet, and what they say."""

import os
import socket
import time
from pathlib import Path

import pytest

from examples.rexec.cli.share.messages import (
    RECORD_MAX,
    Records,
    ShareError,
    check_socket,
    control_folder,
    control_path,
    record,
)
from tests.rexec.cli.share.users import User
from tests.rexec.servers import PATIENCE, until


class TestPlaces:
    """Nobody else gets at the socket."""

    def test_the_folder_and_the_socket_are_the_users_alone(self, user: User) -> None:
        assert user.run("true").returncode == 0
        assert user.folder.stat().st_mode & 0o777 == 0o700
        assert user.socket.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("wrong", ["mode", "owner", "link", "file"])
    def test_a_folder_that_others_could_use_is_refused(
        self, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        (folder := tmp_path / "rexec").mkdir(mode=0o700)
        assert control_folder() == str(folder)
        monkeypatch.setenv("HOME", str(tmp_path))
        if wrong == "mode":
            folder.chmod(0o710)
        elif wrong == "owner":
            if os.geteuid():
                pytest.skip("only root can give a folder away")
            os.chown(folder, 1, 1)
        else:
            folder.rename(tmp_path / "elsewhere")
            folder.symlink_to(tmp_path / "elsewhere") if wrong == "link" else folder.touch(0o700)
        with pytest.raises(ShareError):
            control_folder()

    def test_the_runtime_folder_of_another_user_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        for folder in ("/no/such/folder", "/usr" if os.geteuid() else str(tmp_path / "theirs")):
            if folder.endswith("theirs"):
                os.mkdir(folder)
                os.chown(folder, 1, 1)
            monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
            assert control_folder() == str(tmp_path / ".cache" / "rexec")

    def test_what_is_no_socket_of_ours_is_refused(self, user: User) -> None:
        assert user.run("true").returncode == 0
        path = user.socket
        user.share("--stop")
        until(lambda: not path.exists())
        path.write_text("")
        done = user.run("true")
        assert (done.returncode, done.stderr.count(b"\n")) == (255, 1)
        path.unlink()

    def test_other_keys_have_another_keeper(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        paths = [control_path()]
        for name in ("CHANLINK_IDENTITY", "HOME", "SSH_AUTH_SOCK"):
            monkeypatch.setenv(name, "x")
            paths.append(control_path())
        assert len(set(paths)) == 4
        (tmp_path / "file").touch()
        with pytest.raises(ShareError):
            check_socket(str(tmp_path / "file"))


class TestRecords:
    def test_they_are_cut_as_they_were_made_wherever_they_are_split(self) -> None:
        wanted = [[b"run", b"", "ü".encode(), b"\xff"], [b"status", b"0"], [b""]]
        data = record("run", "", "ü", b"\xff") + record("status", b"0") + record("")
        for size in (1, 3, len(data)):
            records, found = Records(), []
            for start in range(0, len(data), size):
                records.add(data[start : start + size])
                while (fields := records.take()) is not None:
                    found.append(fields)
            assert found == wanted

    @pytest.mark.parametrize("data", [b"0000000x", b"-0000001", b"00000000", b"%08d" % (RECORD_MAX + 1)])
    def test_what_is_none_is_an_error(self, data: bytes) -> None:
        records = Records()
        records.add(data)
        with pytest.raises(ShareError):
            records.take()

    @pytest.mark.parametrize("data", [b"", b"x", b"junkjunkjunk", b"00000009status\x00\x00", b"00000008unknown\x00"])
    def test_a_keeper_survives_what_no_client_says(self, data: bytes, user: User) -> None:
        assert user.run("true").returncode == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(user.socket))
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            time.sleep(0)
            while client.recv(1000):
                pass
        assert user.run("true").returncode == 0
