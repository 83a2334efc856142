"""What is done with keys besides having one: a private key printed, a shared secret written, an agent asked for all."""

import base64
import secrets

import nacl.bindings

from chanlink import KeyFormatError, PublicKey
from chanlink.security.keys import files, openssh
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.ssh_agent import SshAgent

SECRET_LENGTH = 32


def make_private_key(comment: str) -> tuple[str, PublicKey]:
    """A new key: the contents of its private file, and its public half."""
    seed = secrets.token_bytes(openssh.KEY_LENGTH)
    key = PublicKey(nacl.bindings.crypto_sign_seed_keypair(seed)[0], comment)
    return openssh.format_private_key(seed, key), key


def make_shared_secret() -> str:
    """A new pre-shared key, as its file holds it."""
    return base64.b64encode(secrets.token_bytes(SECRET_LENGTH)).decode() + "\n"


def write_secret(file: str, text: str) -> None:
    """Make a file that only its owner can read, where nothing is. Raises `KeyFormatError`."""
    try:
        files.create(file, text.encode(), 0o600)
    except OSError as exc:
        raise KeyFormatError(files.file_problem(files.expand(file), exc)) from exc


def holds_private_key(file: str) -> bool:
    """Whether it is a private key, which must not be read without a look at its mode. Raises `KeyFormatError`."""
    return files.read_limited(file, openssh.KEY_FILE_MAX).lstrip().startswith(b"-----BEGIN")


async def agent_keys() -> list[tuple[PublicKey, list[Credential]]]:
    """The Ed25519 keys that the ssh-agent holds, and its credentials of each. Raises `chanlink.AgentError`."""
    agent = SshAgent()
    return [(key, await agent.credentials(key)) for key in await agent.keys()]
