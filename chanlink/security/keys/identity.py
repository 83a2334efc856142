"""Identities: our own key, which signs.

The identity never does Diffie-Hellman: Noise wants a static key to be used for nothing else, and an agent or a
hardware key can only sign. So each process makes an X25519 static key of its own, and a `Certificate` ties that key
to the identity, for one role and for at most a day (docs/reference/protocol.md, section 2.1).

Opening and reading files is synchronous: key files are small, local, and read before anything is served. Only a
passphrase takes time, so that there is also `Identity.aload`.
"""

import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from socket import gethostname
from typing import Self, TypeAlias

import nacl.bindings

from chanlink.errors import KeyFormatError

from . import files, openssh
from .openssh import PublicKey
from .ssh_agent import SshAgent
from .threads import run_apart

Signer: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Signs data with Ed25519 (RFC 8032): 64 bytes."""


class Identity:
    """Our own key: a public key, and something that can sign for it.

    `generate`, `load` and `default` make identities whose secret key is in this process, `from_agent` one whose key
    stays in an ssh-agent. For a secret that is kept elsewhere, give ``signer``: an async callable that takes data
    and returns its 64 bytes of Ed25519 signature.
    """

    __slots__ = ("_public_key", "_signer")

    def __init__(self, public_key: PublicKey, signer: Signer) -> None:
        self._public_key = public_key
        self._signer = signer

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
        """
        data = files.read_limited(path, openssh.KEY_FILE_MAX, secret=True)
        secret = passphrase.encode(errors="surrogateescape") if isinstance(passphrase, str) else passphrase or b""
        try:
            seed, public_key = openssh.parse_private_key(data, secret)
        except KeyFormatError as exc:
            raise KeyFormatError(f"{path}: {exc}", code=exc.code) from exc
        return cls(public_key, _SeedSigner(seed))

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
        gone or refuses.
        """
        agent = SshAgent(socket)
        key = await agent.find(public_key)
        return cls(key, partial(agent.sign, key))

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

    async def sign(self, data: bytes) -> bytes:
        """Sign ``data`` with Ed25519 (RFC 8032): 64 bytes. Raises what the signer raises; a key in memory nothing."""
        return await self._signer(data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the secret key to ``path`` (mode 0600) and the public key to ``path.pub`` (0644), synchronously.

        Missing directories are made with mode 0700, and ``~`` is expanded. Both files appear complete or not at all.
        On a file system that keeps no modes, a warning is logged when others may be able to read the key.
        Raises `KeyFormatError` when either exists already (a key is never overwritten), when they can't be written,
        and when the secret key is not in this process.
        """
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
