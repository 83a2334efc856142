"""Identities: our own key, and the certificates that it signs.

The identity never does Diffie-Hellman: Noise wants a static key to be used for nothing else, and an agent or a
hardware key can only sign.  So each process makes an X25519 static key of its own, and a `Certificate` ties that key
to the identity, for one role and for at most a day (docs/reference/protocol.md, section 2.1).

Opening and reading files is synchronous: key files are small, local, and read before anything is served. Only a
passphrase takes time, so that there is also `Identity.aload`.
"""

import dataclasses
import enum
import errno
import os
import secrets
import socket
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from struct import Struct
from time import gmtime, sleep, strftime
from typing import Self, TypeAlias

import nacl.bindings

from chanlink.errors import HandshakeError, KeyFormatError
from chanlink.printing import printable_logger
from chanlink.threads import run_apart

from . import files as editing
from . import openssh
from .openssh import PublicKey
from .ssh_agent import Agent

__all__ = ["Certificate", "Identity", "PublicKey", "Role", "Signer", "certify"]

logger = printable_logger(__name__)

Signer: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Signs data with Ed25519 (RFC 8032): 64 bytes."""

NAMESPACE = b"chanlink-static-v1"
SSHSIG_MAX = 1024  # ours have 187 bytes
CERTIFICATE_LIFETIME = 24 * 3600
CLOCK_SKEW = 300  # how far the peer's clock may be behind ours
STATIC_LENGTH = 32

_SIGNED_MESSAGE = Struct(">BB32sQQ")  # version, role, static key, not_before, not_after
_SIGNED_MESSAGE_VERSION = 1


# --- identities ---------------------------------------------------------------------------------


class Identity:
    """Our own key: a public key, and something that can sign for it.

    `generate`, `load` and `default` make identities whose secret key is in this process, `from_agent` one whose key
    stays in an ssh-agent.  For a secret that is kept elsewhere, give ``signer``: an async callable that takes data
    and returns its 64 bytes of Ed25519 signature.
    """

    __slots__ = ("_public_key", "_signer")

    def __init__(self, public_key: PublicKey, signer: Signer) -> None:
        self._public_key = public_key
        self._signer = signer

    @classmethod
    def generate(cls, comment: str = "") -> Self:
        """Make a new key.  ``comment`` says whose it is; `KeyFormatError` when it is not one line of printable text."""
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
        data = openssh.read_limited(path, openssh.KEY_FILE_MAX, secret=True)
        secret = passphrase.encode(errors="surrogateescape") if isinstance(passphrase, str) else passphrase or b""
        try:
            seed, public_key = openssh.parse_private_key(data, secret)
        except KeyFormatError as exc:
            raise KeyFormatError(f"{path}: {exc}") from exc
        return cls(public_key, _SeedSigner(seed))

    @classmethod
    async def aload(cls, path: str | os.PathLike[str], passphrase: str | bytes | None = None) -> Self:
        """As `load`, in a worker thread: a passphrase keeps a processor busy for some time."""
        return await run_apart(cls.load, path, passphrase)

    @classmethod
    async def from_agent(
        cls, public_key: PublicKey | None = None, socket: str | os.PathLike[str] | None = None
    ) -> Self:
        """Use a key that an ssh-agent holds; it never leaves the agent, which signs once in some hours.

        ``public_key`` says which; without it the agent must hold exactly one Ed25519 key. ``socket`` is the agent's
        Unix socket, ``$SSH_AUTH_SOCK`` if none is given. Raises `AgentError` when there is no agent, when it does not
        hold the key or says what no agent would say; `sign`, and so `connect`, raises that, too, when the agent has
        gone or refuses.
        """
        agent = Agent(socket)
        key = await agent.find(public_key)
        return cls(key, partial(agent.sign, key))

    @classmethod
    def default(cls) -> Self:
        """Load the identity of this user; make it at first use (synchronously).

        It is the file that ``$CHANLINK_IDENTITY`` names, else ``~/.config/chanlink/id_ed25519``.  Processes that race
        for the first use end with the same key.  Raises `KeyFormatError` as `load` and `save` do.
        """
        path = openssh.expand(os.environ.get("CHANLINK_IDENTITY") or "~/.config/chanlink/id_ed25519")
        if not os.path.lexists(path):
            try:
                cls.generate(f"chanlink@{socket.gethostname()}").save(path)
            except KeyFormatError:
                if not os.path.lexists(path):  # else another process was first, and its key is ours too
                    raise
        _wait_until_written(path)
        return cls.load(path)

    @property
    def public_key(self) -> PublicKey:
        """What peers know us by."""
        return self._public_key

    async def sign(self, data: bytes) -> bytes:
        """Sign ``data`` with Ed25519 (RFC 8032): 64 bytes.  Raises what the signer raises; a key in memory nothing."""
        return await self._signer(data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the secret key to ``path`` (mode 0600) and the public key to ``path.pub`` (0644), synchronously.

        Missing directories are made with mode 0700, and ``~`` is expanded.  Both files appear complete or not at all.
        On a file system that keeps no modes, a warning is logged when others may be able to read the key.
        Raises `KeyFormatError` when either exists already (a key is never overwritten), when they can't be written,
        and when the secret key is not in this process.
        """
        if not isinstance(self._signer, _SeedSigner):
            raise KeyFormatError("the secret key is not in this process, so it can't be saved")
        private = openssh.format_private_key(self._signer.seed, self._public_key)
        file = openssh.expand(path)
        try:
            openssh.make_private_directory(file.parent)
            _write_pair(file, private.encode(), f"{self._public_key}\n".encode())
        except (OSError, ValueError) as exc:
            raise KeyFormatError(openssh.file_problem(file, exc)) from exc

    def __repr__(self) -> str:
        return f"<Identity {self._public_key.fingerprint} {self._public_key.comment}".rstrip() + ">"


class _SeedSigner:
    """Signs with a secret key in this process.  The default `repr` says nothing of it."""

    __slots__ = ("_secret_key", "seed")

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        _, self._secret_key = nacl.bindings.crypto_sign_seed_keypair(seed)

    async def __call__(self, data: bytes) -> bytes:
        return nacl.bindings.crypto_sign(data, self._secret_key)[: openssh.SIGNATURE_LENGTH]


# --- certificates -------------------------------------------------------------------------------


class Role(enum.IntEnum):
    """Which side of the handshake a static key may be used on."""

    CLIENT = 0
    """The initiator."""
    SERVER = 1
    """The responder."""


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """An identity's signature over a Noise static key, a role and a time.

    ``not_before`` and ``not_after`` are in seconds since 1970, both included; ``sshsig`` is a binary SSHSIG blob.
    Having one proves nothing: call `verify`.  Raises `HandshakeError` for values of a wrong type or size.
    """

    not_before: int
    not_after: int
    sshsig: bytes

    def __post_init__(self) -> None:
        for time in (self.not_before, self.not_after):
            if type(time) is not int or not 0 <= time < 2**64:  # bool is an int too
                raise HandshakeError("the certificate's times are wrong")
        if type(self.sshsig) is not bytes or len(self.sshsig) > SSHSIG_MAX:
            raise HandshakeError("the certificate's signature is too long or not bytes")

    @classmethod
    def from_map(cls, value: object) -> Self:
        """Read what `to_map` wrote and a peer sent; unknown entries are ignored.  Raises `HandshakeError`."""
        if not isinstance(value, dict):
            raise HandshakeError("the certificate is not a map")
        try:
            return cls(value["not_before"], value["not_after"], value["sshsig"])
        except KeyError as exc:
            raise HandshakeError(f"the certificate has no {exc}") from exc

    def to_map(self) -> dict[str, object]:
        """The entries that travel in a handshake payload."""
        return {"not_before": self.not_before, "not_after": self.not_after, "sshsig": self.sshsig}

    def verify(self, static: bytes, role: Role, now: int) -> PublicKey:
        """Return the identity that certifies ``static`` (32 bytes) for ``role`` at ``now`` (seconds since 1970).

        Raises `HandshakeError` when this certificate does not do so, for whatever reason.
        """
        self._check_time(now)
        message = self.signed_message(static, role)
        try:
            public_key, signature = openssh.parse_sshsig(self.sshsig, NAMESPACE)
        except KeyFormatError as exc:
            raise HandshakeError(f"the certificate's signature can't be read: {exc}") from exc
        if not public_key.verify(openssh.sshsig_signed_data(NAMESPACE, message), signature):
            raise HandshakeError("the certificate's signature is wrong, or it is for another key, role or time")
        return public_key

    def _check_time(self, now: int) -> None:
        if self.not_after - self.not_before > CERTIFICATE_LIFETIME:
            raise HandshakeError("the certificate is valid for more than a day")
        if now < self.not_before:
            raise HandshakeError(f"the certificate is not valid yet, for {self.not_before - now} s; {which_clock()}")
        if now > self.not_after:
            raise HandshakeError(f"the certificate expired {now - self.not_after} s ago; {which_clock()}")

    def signed_message(self, static: bytes, role: Role) -> bytes:
        """The 50 bytes that are signed, for ``ssh-keygen -Y verify``.  Raises `HandshakeError` for a wrong length."""
        if len(static) != STATIC_LENGTH:
            raise HandshakeError(f"a static key has {STATIC_LENGTH} bytes")
        return _SIGNED_MESSAGE.pack(_SIGNED_MESSAGE_VERSION, role, static, self.not_before, self.not_after)

    def armored(self) -> str:
        """The signature as ``ssh-keygen -Y verify -n chanlink-static-v1 -s FILE`` reads it."""
        return openssh.armor_sshsig(self.sshsig)


def which_clock() -> str:
    """For people, where two clocks may differ: what ours says."""
    return f"one of the two clocks may be wrong, ours says {strftime('%Y-%m-%d %H:%M:%S UTC', gmtime())}"


async def certify(
    identity: Identity, static: bytes, role: Role, now: int, lifetime: int = CERTIFICATE_LIFETIME
) -> Certificate:
    """Have ``identity`` sign the X25519 key ``static`` (32 bytes) for ``role``.

    Valid from five minutes before ``now`` (seconds since 1970; clocks differ), for ``lifetime`` seconds, at most a
    day in all.  Raises `HandshakeError` when the result would not be valid now: a wrong length, a lifetime of less
    than those five minutes, a signer that signs with another key.
    """
    not_before = now - CLOCK_SKEW
    unsigned = Certificate(not_before, not_before + min(lifetime, CERTIFICATE_LIFETIME), b"")
    signature = await identity.sign(openssh.sshsig_signed_data(NAMESPACE, unsigned.signed_message(static, role)))
    certificate = dataclasses.replace(unsigned, sshsig=openssh.encode_sshsig(identity.public_key, NAMESPACE, signature))
    certificate.verify(static, role, now)  # a signer elsewhere may be wrong: find out here, not at the peer
    return certificate


# --- writing key files --------------------------------------------------------------------------


def _write_pair(file: Path, private: bytes, public: bytes) -> None:
    """Make ``file`` and ``file.pub``, complete and only where nothing is.

    The name of the private file decides between processes that race, so it comes first.  A public file in the way is
    found before: no other process should load a key that is taken back.
    """
    public_file = file.with_name(f"{file.name}.pub")
    if os.path.lexists(public_file):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), public_file)
    with (
        editing.written(file.parent, private, 0o600) as new_private,
        editing.written(file.parent, public, 0o644) as new_public,  # not by the umask: a server's operator reads it
    ):
        editing.place(new_private, file)
        try:
            editing.place(new_public, public_file)
        except OSError:
            file.unlink()
            raise
    mode = stat.S_IMODE(file.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        logger.warning("%s: its file system keeps no modes (this one is %o): others may be able to read it", file, mode)


def _wait_until_written(file: Path) -> None:
    """Another process makes it. Without hard links, it has the name before it has the contents, for a moment."""
    for _ in range(100):
        if file.exists() and not file.stat().st_size:
            sleep(0.01)
