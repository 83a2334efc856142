"""Identities: our own key, which signs.

The identity never does Diffie-Hellman: Noise wants a static key to be used for nothing else, and an agent or a
hardware key can only sign. So each process makes an X25519 static key of its own, and a `Certificate` ties that key
to the identity, for one role and for at most a day (docs/reference/protocol.md, section 2.1).

Opening and reading files is synchronous: key files are small, local, and read before anything is served. Only a
passphrase takes time, so that there is also `Identity.aload`. What lies beside a key (beside.py) is looked at again
while the process runs, in a thread.
"""

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from socket import gethostname
from types import NoneType
from typing import Self, TypeAlias

import nacl.bindings

from chanlink.arguments import expect, expect_function
from chanlink.errors import KeyFormatError
from chanlink.printing import printable_logger

from . import beside, files, openssh
from .credential import USER, Credential, out_of_time
from .openssh import PublicKey
from .ssh_agent import AgentCredentials, SshAgent
from .successor import Successor
from .threads import run_apart

logger = printable_logger(__name__)

Signer: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Signs data with Ed25519 (RFC 8032): 64 bytes."""


class Identity:
    """Our own key: a public key, and something that can sign for it.

    `generate`, `load` and `default` make identities whose secret key is in this process, `from_agent` one whose key
    stays in an ssh-agent. For a secret that is kept elsewhere, give ``signer``: an async callable that takes data
    and returns its 64 bytes of Ed25519 signature.
    """

    __slots__ = ("_credentials", "_public_key", "_said", "_signer", "_successor", "_unshown")

    def __init__(self, public_key: PublicKey, signer: Signer) -> None:
        expect("public_key", public_key, PublicKey)
        expect_function("signer", signer)
        self._public_key = public_key
        self._signer = signer
        self._credentials: tuple[Callable[[], Awaitable[Sequence[Credential] | None]], ...] = ()
        self._successor: Callable[[], Awaitable[Successor | None]] | None = None
        self._said = ""
        """What was logged last of its credentials."""
        self._unshown: dict[int, Credential] = {}
        """Of each type, the credential that is not shown, as this is not its time."""

    @classmethod
    def generate(cls, comment: str = "") -> Self:
        """Make a new key. ``comment`` says whose it is; `KeyFormatError` when it is not one line of printable text."""
        seed = secrets.token_bytes(openssh.KEY_LENGTH)
        public, _ = nacl.bindings.crypto_sign_seed_keypair(seed)
        return cls(PublicKey(public, comment), _SeedSigner(seed))

    @classmethod
    def load(cls, path: str | os.PathLike[str], passphrase: str | bytes | None = None) -> Self:
        """Read an OpenSSH private key file (synchronously; ``~`` is expanded), as ``ssh-keygen -t ed25519`` writes it.

        Keys with a passphrase need the extra ``chanlink[ssh]`` (else `ConfigError`) and at least a tenth of a second:
        use `aload` when other tasks are running. A passphrase that is not needed is ignored. Raises `KeyFormatError`
        when there is no such file, when it is not an Ed25519 key, when the passphrase is missing or wrong, and when
        group or others may read the file.

        A file ``PATH-cert.pub`` beside it, as ``ssh-keygen -s`` writes it, is a `credential` of the key, and
        ``PATH-successor`` says whose place the key takes. `KeyFormatError` too when one of them is of another key, or
        can't be read. A credential of an authority whose key is not an Ed25519 one is logged, and never shown.
        """
        expect("passphrase", passphrase, str, bytes, NoneType)
        data = files.read_limited(path, openssh.KEY_FILE_MAX, secret=True)
        secret = passphrase.encode(errors="surrogateescape") if isinstance(passphrase, str) else passphrase or b""
        try:
            seed, public_key = openssh.parse_private_key(data, secret)
        except KeyFormatError as exc:
            raise KeyFormatError(f"{path}: {exc}", code=exc.code) from exc
        return cls(public_key, _SeedSigner(seed)).showing(path)

    @classmethod
    async def aload(cls, path: str | os.PathLike[str], passphrase: str | bytes | None = None) -> Self:
        """As `load`, in a worker thread: a passphrase keeps a processor busy for some time."""
        return await run_apart(cls.load, path, passphrase)

    @classmethod
    async def from_agent(
        cls, public_key: PublicKey | None = None, socket: str | os.PathLike[str] | None = None
    ) -> Self:
        """Use a key that an ssh-agent holds; it never leaves the agent, which signs once every few hours.

        ``public_key`` says which; without it the agent must hold exactly one Ed25519 key. ``socket`` is the agent's
        Unix socket, ``$SSH_AUTH_SOCK`` if none is given. Raises `AgentError` when there is no agent, when it does not
        hold the key or says what no agent would say; `sign`, and so `connect`, raises that, too, when the agent has
        gone or refuses. What ``ssh-add`` has added with the key, of the agent's credentials, is a `credential` of it.
        """
        expect("public_key", public_key, PublicKey, NoneType)
        expect("socket", socket, str, os.PathLike, NoneType)
        agent = SshAgent(socket)
        key = await agent.find(public_key)
        identity = cls(key, partial(agent.sign, key))
        identity._credentials = (AgentCredentials(agent, key).now,)
        return identity

    @classmethod
    def default(cls) -> Self:
        """Load the identity of this user; make it at first use (synchronously).

        It is the file that ``$CHANLINK_IDENTITY`` names, else ``~/.config/chanlink/id_ed25519``. Processes that race
        for the first use end with the same key. Raises `KeyFormatError` as `load` and `save` do.
        """
        path = files.expand(os.environ.get("CHANLINK_IDENTITY") or "~/.config/chanlink/id_ed25519")
        if not os.path.lexists(path):
            try:
                cls.generate(f"chanlink@{gethostname()}").save(path)
            except KeyFormatError:
                if not os.path.lexists(path):  # else another process was first, and its key is ours too
                    raise
        files.wait_until_written(path)
        return cls.load(path)

    @property
    def public_key(self) -> PublicKey:
        """What peers know us by."""
        return self._public_key

    @property
    def signs_here(self) -> bool:
        """Whether the secret key is in this process, so that nobody is asked for a signature."""
        return isinstance(self._signer, _SeedSigner)

    async def sign(self, data: bytes) -> bytes:
        """Sign ``data`` with Ed25519 (RFC 8032): 64 bytes. Raises what the signer raises; a key in memory nothing."""
        expect("data", data, bytes)
        return await self._signer(data)

    def showing(self, path: str | os.PathLike[str]) -> Self:
        """The same identity, which also shows what lies beside a file ``PATH`` (synchronously; ``~`` is expanded).

        `load` does so by itself. It is for a key that is elsewhere, in an ssh-agent or behind ``signer``, while
        ``~/.ssh/id_ed25519-cert.pub``, say, is a file. ``PATH`` itself need not be there. Raises `KeyFormatError` as
        `load`.
        """
        expect("path", path, str, os.PathLike)
        credentials, successor = beside.of_key(files.expand(path), self._public_key)
        identity = type(self)(self._public_key, self._signer)
        identity._credentials = (*self._credentials, credentials.now)
        identity._successor = successor.now
        return identity

    async def credential(self, type: int = USER) -> Credential | None:
        """What vouches for the key now: a credential of a user (1) or of a host (2); ``None`` if nothing does.

        The file beside the key is read again when it has changed, and the agent is asked. A file that can't be read any
        more, and an agent that does not answer, are logged; one whose time is over, or has not come, is so, too,
        and is not shown.
        """
        expect("type", type, int)
        found = [one for ask in self._credentials for one in await ask() or () if one.type == type]
        now = int(time.time())
        valid = [one for one in found if one.holds(now)]
        if found and not valid:
            whose = self._public_key.fingerprint
            self._say_once(
                f"the credential {found[-1].key_id!r} of {whose} {out_of_time(found[-1], now)}; it is not shown"
            )
            self._unshown[type] = found[-1]
        else:
            self._unshown.pop(type, None)
        return max(valid, key=lambda one: one.valid_before, default=None)

    async def successor(self) -> Successor | None:
        """Whose place the key takes now; ``None`` if it takes nobody's, or has done so for 90 days.

        The file is read again when it has changed; one that can't be read any more is logged.
        """
        found = None if self._successor is None else await self._successor()
        return found if found is not None and found.holds(int(time.time())) else None

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            logger.warning("%s", text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the secret key to ``path`` (mode 0600) and the public key to ``path.pub`` (0644), synchronously.

        Missing directories are made with mode 0700, and ``~`` is expanded. Both files appear complete or not at all.
        On a file system that keeps no modes, a warning is logged when others may be able to read the key.
        Raises `KeyFormatError` when either exists already (a key is never overwritten), when they can't be written,
        and when the secret key is not in this process.
        """
        expect("path", path, str, os.PathLike)
        if not isinstance(self._signer, _SeedSigner):
            raise KeyFormatError("the secret key is not in this process, so it can't be saved")
        private = openssh.format_private_key(self._signer.seed, self._public_key)
        file = files.expand(path)
        try:
            files.make_private_directory(file.parent)
            files.write_pair(file, private.encode(), f"{self._public_key}\n".encode())
        except (OSError, ValueError) as exc:
            raise KeyFormatError(files.file_problem(file, exc)) from exc

    def __repr__(self) -> str:
        return f"<Identity {self._public_key.fingerprint} {self._public_key.comment}".rstrip() + ">"


class _SeedSigner:
    """Signs with a secret key in this process. The default `repr` says nothing of it."""

    __slots__ = ("_secret_key", "seed")

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        _, self._secret_key = nacl.bindings.crypto_sign_seed_keypair(seed)

    async def __call__(self, data: bytes) -> bytes:
        return nacl.bindings.crypto_sign(data, self._secret_key)[: openssh.SIGNATURE_LENGTH]
