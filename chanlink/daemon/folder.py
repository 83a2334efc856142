"""The daemon's folder: the identity of the host, one for each user, and what else only the daemon may read.

    FOLDER/              for its owner alone, which is the daemon
      daemon.toml        the services
      host/id_ed25519    the identity of the host, with id_ed25519.pub, and id_ed25519-cert.pub if it has a credential
      users/NAME/        the same, for each local user who may connect
      trust              who may connect to services that have no trust file of their own
      known_peers        which keys hosts have
      hosts.toml         names of hosts
      instance           names this daemon to clients that come back
      sessions           the lines of the sessions: the journal
      audit              one line of JSON for each connection

All of it is synchronous: small files of a local disk.
"""

import os
import secrets
import stat
from pathlib import Path

from chanlink.errors import ConfigError, KeyFormatError
from chanlink.security.keys.files import create, expand, file_problem, read_limited
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.resuming.agreement import SESSION_ID

from .accounts import checked_name, name_of

DEFAULT = "/var/lib/chanlink"
"""Where it is if nobody says so."""
KEY = "id_ed25519"


class Folder:
    """A folder of a daemon. `made` makes one, `opened` looks whether it is one that others can't read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "daemon.toml"
        self.trust = path / "trust"
        self.known_peers = path / "known_peers"
        self.hosts = path / "hosts.toml"
        self.journal = path / "sessions"
        self.audit = path / "audit"
        self._users = path / "users"

    @classmethod
    def made(cls, path: str | os.PathLike[str], settings: str, comment: str) -> "Folder":
        """Make a folder with an identity of the host, and these settings. Raises `ConfigError`."""
        folder = cls(expand(path))
        try:
            folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder._check_private(folder.path)
            folder._users.mkdir(mode=0o700, exist_ok=True)
            create(folder.settings, settings.encode(), 0o600)
        except (OSError, ValueError) as exc:
            if isinstance(exc, ConfigError):
                raise
            raise ConfigError(file_problem(folder.path, exc)) from exc
        Identity.generate(comment).save(folder.path / "host" / KEY)
        _create(folder.path / "instance", secrets.token_hex(SESSION_ID).encode())
        for file in (folder.trust, folder.known_peers):
            _create(file, b"")
        return folder

    @classmethod
    def opened(cls, path: str | os.PathLike[str]) -> "Folder":
        """A folder that is there. Raises `ConfigError` if it is none, or if others than its owner can read it."""
        folder = cls(expand(path))
        try:
            folder._check_private(folder.path)
            if not folder.settings.exists():
                raise ConfigError(f"{folder.path} is no folder of a daemon; run: chanlink daemon init")
            for each in (folder.path / "host", folder._users, *folder._users.iterdir()):
                folder._check_private(each)
            for key in (*folder.path.glob(f"*/{KEY}"), *folder._users.glob(f"*/{KEY}")):
                folder._check_private(key)
        except OSError as exc:
            raise ConfigError(file_problem(folder.path, exc)) from exc
        return folder

    def _check_private(self, file: Path) -> None:
        """Raise `ConfigError` unless it is the daemon's, and nobody else can read it."""
        status = os.lstat(file)
        if stat.S_ISLNK(status.st_mode):
            raise ConfigError(f"{file} is a link, and where it leads is not looked at")
        if status.st_uid != os.geteuid():
            owner = name_of(status.st_uid)
            raise ConfigError(
                f"{file} belongs to the user {owner}, who runs the daemon; do this as {owner}, or run: chown"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(f"others can read {file}; run: chmod go= {file}")

    # --- identities ---

    def host(self) -> Identity:
        """The identity of the host. Raises `KeyFormatError`."""
        return Identity.load(self.path / "host" / KEY)

    def user(self, name: str) -> Identity | None:
        """The identity of a user; None if there is none. Raises `ConfigError`."""
        file = self._users / checked_name(name) / KEY
        if not os.path.lexists(file):
            return None
        try:
            for each in (file.parent, file):
                self._check_private(each)
        except OSError as exc:
            raise ConfigError(file_problem(file, exc)) from exc
        return Identity.load(file)

    def state_of(self, name: str) -> object:
        """Something that differs once the identity of this user is another one."""
        try:
            status = os.stat(self._users / checked_name(name) / KEY)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def add_user(self, name: str, comment: str) -> PublicKey:
        """Make an identity for a user. Raises `ConfigError`, also if it has one."""
        file = self._users / checked_name(name) / KEY
        if os.path.lexists(file):
            raise ConfigError(f"{name} has a key already; its public half is {file}.pub")
        identity = Identity.generate(comment)
        identity.save(file)
        return identity.public_key

    def remove_user(self, name: str) -> PublicKey:
        """Take the identity of a user away, for good; returns its public half. Raises `ConfigError` if it has none."""
        file = self._users / checked_name(name) / KEY
        try:
            key = PublicKey.load(file.with_name(f"{KEY}.pub"))
            for ending in ("", "-cert.pub", "-successor", ".pub"):  # the secret first
                file.with_name(KEY + ending).unlink(missing_ok=True)
            file.parent.rmdir()
        except KeyFormatError as exc:
            raise ConfigError(f"{name} has no key here; there are: {', '.join(sorted(self.users()))}") from exc
        except OSError as exc:
            raise ConfigError(file_problem(file.parent, exc)) from exc
        return key

    def has_user(self, name: str) -> bool:
        """Whether a user has an identity, as far as can be seen."""
        try:
            os.lstat(self._users / checked_name(name) / KEY)
        except (FileNotFoundError, ConfigError):
            return False
        except OSError:  # whether it is there can't be seen
            pass
        return True

    def users(self) -> dict[str, PublicKey]:
        """The users who have an identity, with its public half. Raises `ConfigError`."""
        files = sorted(self._users.glob(f"*/{KEY}.pub"))
        return {file.parent.name: PublicKey.load(file) for file in files}

    @property
    def instance(self) -> bytes:
        """What names this daemon to clients that come back. Raises `ConfigError`."""
        file = self.path / "instance"
        try:
            instance = bytes.fromhex(read_limited(file, 100, secret=True).decode("ascii").strip())
        except KeyFormatError as exc:
            raise ConfigError(str(exc)) from exc
        except ValueError as exc:
            raise ConfigError(f"{file}: not {2 * SESSION_ID} hexadecimal digits") from exc
        if len(instance) != SESSION_ID:
            raise ConfigError(f"{file}: it has {len(instance)} bytes, not {SESSION_ID}")
        return instance


def _create(file: Path, data: bytes) -> None:
    try:
        create(file, data, 0o600)
    except FileExistsError:
        pass  # somebody has written it before there was a daemon
    except OSError as exc:
        raise ConfigError(file_problem(file, exc)) from exc
