"""The daemon's sockets."""

import os
import socket
import stat
import tempfile
from pathlib import Path

import anyio
import pytest

from chanlink.daemon.accounts import IMPORT, IPC
from chanlink.daemon.doors import Doors, _give
from chanlink.daemon.settings import Service
from chanlink.errors import ConfigError

SERVICES = {"ping": Service("ping"), "echo": Service("echo", incoming=True)}


def connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(str(path))
    return sock


def prepared(run: Path) -> Doors:
    doors = Doors(run, groups=False)
    doors.prepare()
    return doors


def test_a_service_has_a_socket_for_those_who_connect_and_if_strangers_may_come_one_for_those_who_serve(
    tmp_path: Path,
) -> None:
    assert prepared(tmp_path).wanted(SERVICES) == {(IPC, "ping"), (IPC, "echo"), (IMPORT, "echo")}


@pytest.mark.anyio
async def test_who_connects_is_met_by_the_direction_and_the_service(tmp_path: Path) -> None:
    doors, met = prepared(tmp_path), list[tuple[str, str]]()
    came = anyio.Event()

    def meet(direction: str, service: str, sock: socket.socket) -> None:
        met.append((direction, service))
        sock.close()
        if len(met) == 3:
            came.set()

    async with anyio.create_task_group() as tasks:
        for key in doors.missing(SERVICES):
            doors.open(key, doors.make(*key), tasks, meet)
        assert not doors.missing(SERVICES)
        for key in doors.wanted(SERVICES):
            connected(doors.path(*key)).close()
        await came.wait()
        doors.close(set())
    assert set(met) == doors.wanted(SERVICES)
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.anyio
async def test_a_service_that_is_taken_away_has_no_socket_any_more(tmp_path: Path) -> None:
    doors = prepared(tmp_path)
    async with anyio.create_task_group() as tasks:
        for key in doors.missing(SERVICES):
            doors.open(key, doors.make(*key), tasks, lambda direction, service, sock: sock.close())
        doors.close(doors.wanted({"ping": Service("ping")}))
        assert doors.missing(SERVICES) == {(IPC, "echo"), (IMPORT, "echo")}
        assert not doors.path(IPC, "echo").exists()
        connected(doors.path(IPC, "ping")).close()
        doors.close(set())


def test_without_groups_a_socket_is_for_the_daemons_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        doors = prepared(tmp_path)
        with doors.make(IPC, "ping"):
            status = doors.path(IPC, "ping").stat()
            assert stat.S_IMODE(status.st_mode) == 0o600
            assert status.st_uid == os.geteuid()
    finally:
        os.umask(before)


def test_the_folders_may_be_entered_by_all_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        prepared(tmp_path / "run")
    finally:
        os.umask(before)
    for each in (".", IPC, IMPORT):
        assert stat.S_IMODE((tmp_path / "run" / each).stat().st_mode) == 0o755


def test_a_service_whose_group_is_missing_gets_no_socket(tmp_path: Path) -> None:
    doors = Doors(tmp_path, groups=True)
    doors.prepare()
    with pytest.raises(ConfigError, match="groupadd --system ipc-no-such"):
        doors.make(IPC, "no-such")
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
def test_a_socket_that_cannot_be_given_to_its_group_is_taken_away_and_what_is_missing_is_said() -> None:
    with tempfile.TemporaryDirectory() as made, socket.socket(socket.AF_UNIX) as sock:
        os.chmod(made, 0o777)
        path = Path(made) / "ping"
        os.seteuid(65_534)
        try:
            sock.bind(str(path))
            with pytest.raises(ConfigError, match="CAP_CHOWN"):
                _give(path, 54_321, path)
        finally:
            os.seteuid(0)
        assert not path.exists()


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(tmp_path: Path) -> None:
    doors = prepared(tmp_path)
    doors.make(IPC, "ping").close()
    with doors.make(IPC, "ping"), connected(doors.path(IPC, "ping")):
        pass


def test_a_socket_has_its_name_when_it_can_be_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doors, named, listen = prepared(tmp_path), list[bool](), socket.socket.listen

    class Watched(socket.socket):
        def listen(self, backlog: int = 0) -> None:
            named.append(doors.path(IPC, "ping").exists())
            listen(self, backlog)

    monkeypatch.setattr(socket, "socket", Watched)
    with doors.make(IPC, "ping"), connected(doors.path(IPC, "ping")):
        assert named == [False]
    assert os.listdir(tmp_path / IPC) == ["ping"]


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    doors = prepared(tmp_path)
    doors.path(IPC, "ping").write_text("what")
    with pytest.raises(ConfigError, match="in use"):
        doors.make(IPC, "ping")
    assert doors.path(IPC, "ping").read_text() == "what"


def test_a_socket_that_was_given_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / IPC / "ping"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as given:
        given.bind(str(path))
        path.chmod(0o666)
        assert Doors(tmp_path, groups=True, given={str(path): given}).make(IPC, "ping") is given
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
