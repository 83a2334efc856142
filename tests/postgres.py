"""A PostgreSQL server of the tests' own: in a temporary folder, on a Unix socket, as a user without rights.

One for each process that runs tests, when the first of them asks for it. It forgets what it has written if the machine
stops, which no test does. When that process is killed, it goes, too, and its folder.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

USER = "chanlink"
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "max_wal_size": "128MB",
    "logging_collector": "off",
}


def program(name: str) -> str | None:
    """Where it is. Debian has those of a server beside each other, for each version, and not in PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)]))


def _unprivileged() -> pwd.struct_passwd:
    """Whom the server runs as. Debian has somebody for it; elsewhere its processes count as nobody's."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


AFTERWARDS = """
while kill -0 "$2" 2>/dev/null && [ -d "$1" ]; do sleep 1; done
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
for _ in 1 2 3 4 5; do [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && sleep 1; done
rm -rf "$1"
"""
"""Waits until the folder is gone, or the process that made it, and lets nothing remain."""


class Server:
    """Starts, stops, and says by which conninfo it is reached."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._as_somebody: dict[str, object] = {}
        if os.geteuid() == 0:  # it refuses to run as root
            user = _unprivileged()
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_somebody = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._run("initdb", "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", f"--username={USER}")
        lines = {**SETTINGS, "unix_socket_directories": str(folder), **settings}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    @property
    def conninfo(self) -> str:
        """Of the database that is there from the beginning."""
        return f"host={self.folder} user={USER} dbname=postgres"

    def start(self) -> None:
        """Returns when it answers."""
        self._run("pg_ctl", "start", "--wait", "--silent", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is as if it was killed."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "-m", mode)

    def pid(self) -> int:
        """Of its first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def _run(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        command = [path, "-D", str(self.data), *arguments]
        # Not to a pipe: the server would keep it open.
        with (self.folder / "commands").open("a+") as said:
            done = subprocess.run(command, cwd=self.folder, stdout=said, stderr=said, **self._as_somebody)  # type: ignore[call-overload]
            said.seek(0)
            assert done.returncode == 0, said.read()


def _clear_away_afterwards(folder: Path) -> None:
    """When this process is killed. Nothing of ours is left open for it, and no child: tests look for such things."""
    command = ["sh", "-c", f"({AFTERWARDS}) &", "sh", str(folder), str(os.getpid())]
    nothing = subprocess.DEVNULL
    # In a session of its own: what ends us may be for all processes of ours.
    subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, check=True)


@contextmanager
def new_server(**settings: str) -> Iterator[Server]:
    """One that runs in this block, with these settings. Skips the test where there is none."""
    if program("initdb") is None or program("pg_ctl") is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with ExitStack() as stack:
        # Not a folder of pytest: those are closed to others, and their names may be too long for a socket.
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        stack.callback(shutil.rmtree, folder)
        _clear_away_afterwards(folder)
        server = Server(folder, **settings)
        server.start()
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server of this process. Whoever stops it starts it again."""
    with new_server() as server:
        yield server
