"""Keys from files, from the command line and from an ssh-agent."""

import argparse
import os
import sys

import chanlink

from .options import DEFAULT_IDENTITY
from .output import note
from .problems import Problem

TRIES = 3
"""For a passphrase, as ssh has it."""


def load_ours(options: argparse.Namespace) -> "chanlink.Identity | chanlink.PublicKey | None":
    """Our identity. Of one in an agent this is the public half, or None for the only one that it holds."""
    if options.agent:
        return None if options.identity is None else public_key(options.identity)
    return load_identity(options.identity) if options.identity is not None else default_identity()


def default_identity() -> "chanlink.Identity":
    """That of the user, made at first use."""
    path = default_path()
    missing = not os.path.lexists(os.path.expanduser(path))
    identity = load_identity(path) if not missing else chanlink.Identity.default()
    if missing:
        note(f"made a key of our own: {path}")
    return identity


def default_path() -> str:
    return os.environ.get("CHANLINK_IDENTITY") or DEFAULT_IDENTITY


def load_identity(path: str) -> "chanlink.Identity":
    """The key in a file; its passphrase, if it has one, is asked for at the terminal."""
    try:
        return chanlink.Identity.load(path)
    except chanlink.KeyFormatError as exc:
        if exc.code != "passphrase-needed":
            raise
        return _ask(path, exc)


def _ask(path: str, problem: Exception) -> "chanlink.Identity":
    import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise Problem(
            f"{path}: the key has a passphrase, and there is no terminal to ask for it; use ssh-add, and --agent"
        ) from problem
    for left in reversed(range(TRIES)):
        try:
            return chanlink.Identity.load(path, getpass.getpass(f"Passphrase for {path}: "))
        except chanlink.KeyFormatError as exc:
            if exc.code not in ("passphrase-needed", "passphrase-wrong") or not left:
                raise Problem(f"{path}: the passphrase is wrong") from exc
        except EOFError as exc:
            raise Problem(f"{path}: no passphrase was given") from exc
    raise AssertionError("the last try returns or raises")


async def our_identity(options: argparse.Namespace) -> "chanlink.Identity":
    loaded = options.loaded
    if isinstance(loaded, chanlink.Identity):
        return loaded
    identity = await chanlink.Identity.from_agent(loaded)
    return identity.showing(options.identity.removesuffix(".pub")) if is_file(options.identity) else identity


def is_file(text: str | None) -> bool:
    """Whether a public key on the command line is said by the name of a file: then more may lie beside that."""
    return text is not None and text != "-" and not text.startswith("ssh-")


def public_key(text: str) -> "chanlink.PublicKey":
    """A key from the command line: itself, a .pub file, or ``-`` for standard input."""
    if text.startswith("ssh-"):
        return chanlink.PublicKey.parse(text)
    if text == "-":
        return chanlink.PublicKey.parse(sys.stdin.readline(16_384))
    try:
        return chanlink.PublicKey.load(text)
    except chanlink.KeyFormatError as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise Problem(f"{exc}; give a public key ('ssh-ed25519 AAAA...'), or a file with one") from exc
        if os.path.exists(os.path.expanduser(f"{text}.pub")):
            raise Problem(f"{text} is no public key; that is {text}.pub") from exc
        raise
