"""ssh-agent: a key that we can use and never see (the IETF draft "SSH Agent Protocol", requests 11 and 13).

A request and its reply are one connection of their own: signatures are rare, and an agent that was restarted is no
special case. What the agent says is believed as little as what a peer says: replies have a bound, are read to their
last byte, and a signature is verified before it is used.
"""

import os
from struct import Struct

import anyio
from anyio.abc import ByteStream

from chanlink.errors import AgentError, ConnectFailed, KeyFormatError
from chanlink.printing import printable, printable_logger
from chanlink.transport.address import Address
from chanlink.transport.base import receive_exactly
from chanlink.transport.reaching import connect_socket

from .credential import CREDENTIAL_TYPE, Credential, is_of
from .files import expand
from .openssh import KEY_TYPE, PublicKey, Reader, pack_string, parse_signature

logger = printable_logger(__name__)

FAILURE = 5
REQUEST_IDENTITIES, IDENTITIES_ANSWER = 11, 12
SIGN_REQUEST, SIGN_RESPONSE = 13, 14
REPLY_MAX = 256 * 1024
"""As OpenSSH's ssh-add bounds it."""
KEYS_MAX = 2_048
"""As OpenSSH's ssh-add bounds it."""
COMMENT_MAX = 256
LIST_TIME = 10.0
"""Seconds in which an agent lists its keys."""
SIGN_TIME = 60.0
"""Seconds in which it signs: somebody may have to confirm that, or to touch a hardware key."""

_LENGTH = Struct(">I")


class SshAgent:
    """An ssh-agent at a Unix socket, that of ``$SSH_AUTH_SOCK`` if none is given. Raises `AgentError`."""

    def __init__(self, socket: str | os.PathLike[str] | None = None) -> None:
        path = os.fspath(socket) if socket is not None else os.environ.get("SSH_AUTH_SOCK")
        if not path:
            raise AgentError("there is no ssh-agent: $SSH_AUTH_SOCK is not set; start one with: eval $(ssh-agent)")
        try:
            self.path = os.fspath(expand(path))
        except KeyFormatError as exc:
            raise AgentError(f"there is no ssh-agent at {exc}") from exc

    async def keys(self) -> list[PublicKey]:
        """The Ed25519 keys that the agent holds now. Raises `AgentError`."""
        try:
            return parse_identities(await self._ask(bytes([REQUEST_IDENTITIES]), LIST_TIME))
        except KeyFormatError as exc:
            raise self._problem(f"a malformed list of keys: {exc}") from exc

    async def credentials(self, public_key: PublicKey) -> list[Credential]:
        """What it holds that vouches for this key now. Raises `AgentError`."""
        try:
            return parse_credentials(await self._ask(bytes([REQUEST_IDENTITIES]), LIST_TIME), public_key)
        except KeyFormatError as exc:
            raise self._problem(f"a malformed list of keys: {exc}") from exc

    async def find(self, public_key: PublicKey | None = None) -> PublicKey:
        """The agent's entry for this key; without one, the only Ed25519 key that it holds. Raises `AgentError`."""
        found = [key for key in await self.keys() if public_key is None or key == public_key]
        if not found:
            missing = f"an {KEY_TYPE} key" if public_key is None else f"the key {public_key.fingerprint}"
            raise self._problem(f"it does not hold {missing} now; run: ssh-add FILE")
        if len(found) > 1 and public_key is None:
            raise self._problem(f"it holds {len(found)} Ed25519 keys; say which one with public_key=...")
        return found[0]

    async def sign(self, public_key: PublicKey, data: bytes) -> bytes:
        """The agent's Ed25519 signature of ``data``, verified: 64 bytes. Raises `AgentError`."""
        no_flags = bytes(4)
        request = bytes([SIGN_REQUEST]) + pack_string(public_key.blob) + pack_string(data) + no_flags
        try:
            signature = parse_sign_response(await self._ask(request, SIGN_TIME))
        except KeyFormatError as exc:
            raise self._problem(f"a malformed signature: {exc}") from exc
        if not public_key.verify(data, signature):
            raise self._problem(f"its signature is not one of the key {public_key.fingerprint}")
        return signature

    async def _ask(self, request: bytes, seconds: float) -> bytes:
        """Send a request; returns the reply without its length."""
        try:
            with anyio.fail_after(seconds):
                async with await connect_socket(Address("", 0, self.path)) as stream:
                    await stream.send(pack_string(request))
                    return await self._receive(stream)
        except TimeoutError as exc:
            raise self._problem(f"no answer within {seconds:g} s") from exc
        except ConnectFailed as exc:
            raise AgentError(f"there is no ssh-agent at {exc}") from exc
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise self._problem("it closed the connection without an answer") from exc

    async def _receive(self, stream: ByteStream) -> bytes:
        (length,) = _LENGTH.unpack(await receive_exactly(stream, _LENGTH.size))
        if not 0 < length <= REPLY_MAX:
            raise self._problem(f"a reply of {length} bytes")
        reply = await receive_exactly(stream, length)
        if reply == bytes([FAILURE]):
            raise self._problem("it refused; is it locked, or was the use of the key not confirmed?")
        return reply

    def _problem(self, text: str) -> AgentError:
        return AgentError(f"ssh-agent at {self.path}: {text}")


class AgentCredentials:
    """What an agent holds that vouches for a key. While it does not answer, what it held before goes on."""

    def __init__(self, agent: SshAgent, public_key: PublicKey) -> None:
        self._agent = agent
        self._public_key = public_key
        self._found: list[Credential] = []
        self._problem = ""
        """What was wrong when it was asked last; it is logged once."""

    async def now(self) -> list[Credential]:
        try:
            self._found, self._problem = await self._agent.credentials(self._public_key), ""
        except AgentError as exc:
            if str(exc) != self._problem:
                self._problem = str(exc)
                logger.warning("%s; the credentials that it held before go on", exc)
        return self._found


def parse_identities(reply: bytes) -> list[PublicKey]:
    """The Ed25519 keys of an identities answer; other types are passed over. Raises `KeyFormatError`."""
    entries = _entries(reply)
    return [PublicKey.from_blob(blob, _shown(comment)) for kind, blob, comment in entries if kind == KEY_TYPE.encode()]


def parse_credentials(reply: bytes, public_key: PublicKey) -> list[Credential]:
    """The credentials of a key in an identities answer. One that can't be used is logged and passed over, since ssh
    may be able to use it. Raises `KeyFormatError`."""
    found = []
    for kind, blob, _ in _entries(reply):
        if kind == CREDENTIAL_TYPE.encode() and is_of(blob, public_key):  # others cost nothing
            try:
                found.append(Credential.parse(blob))
            except KeyFormatError as exc:
                logger.debug("ssh-agent: a credential of %s can't be used: %s", public_key.fingerprint, exc)
    return found


def _entries(reply: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The type, the blob and the comment of each key. Raises `KeyFormatError`."""
    reader = Reader(reply)
    if reader.take(1)[0] != IDENTITIES_ANSWER:
        raise KeyFormatError("another reply than the one that was asked for")
    count = reader.uint32()
    if count > KEYS_MAX:
        raise KeyFormatError(f"more than {KEYS_MAX} keys")
    entries = []
    for _ in range(count):
        blob, comment = reader.string(), reader.string()
        entries.append((Reader(blob).string(), blob, comment))
    reader.end()
    return entries


def parse_sign_response(reply: bytes) -> bytes:
    """The 64 bytes of an Ed25519 signature. Raises `KeyFormatError`."""
    reader = Reader(reply)
    if reader.take(1)[0] != SIGN_RESPONSE:
        raise KeyFormatError("another reply than the one that was asked for")
    signature = reader.string()
    reader.end()
    return parse_signature(signature)


def _shown(comment: bytes) -> str:
    """What may be shown of a comment: ssh-add puts the name of the file there, which can be anything."""
    return printable(comment[:COMMENT_MAX].decode(errors="replace"))
