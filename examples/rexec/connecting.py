"""From the options of a client's command to a session with a server."""

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .arguments import Options, add_identity, identity

if TYPE_CHECKING:
    import chanlink

TRUSTED_SERVERS = "~/.config/chanlink/trusted_servers"


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The options that `connected` reads, but for the address, which each command has where it wants it."""
    add_identity(parser)
    parser.add_argument(
        "--peer",
        metavar="KEY|FILE",
        default=TRUSTED_SERVERS,
        help=f"the server's public key, or a file of public keys of which it has one (default: {TRUSTED_SERVERS})",
    )


@asynccontextmanager
async def connected(options: Options) -> "AsyncGenerator[chanlink.Session, None]":
    """A session with the server that ``options.address`` names."""
    import chanlink

    _silence()
    peer, trust = _expected(options.peer)
    async with chanlink.connect(options.address, identity=identity(options), peer=peer, trust=trust) as session:
        yield session


def explain_client(error: Exception, options: Options) -> str | None:
    """What went wrong between us and the server, and what to do, in one line; None for a defect of ours."""
    import chanlink

    from .explaining import explain

    match error:
        case chanlink.TrustFormatError() if options.peer == TRUSTED_SERVERS:
            return f"{error}; give the server's public key with --peer, or put it into this file"
        case chanlink.SessionError() | chanlink.ChannelBroken():
            return _explain_broken(error, options)
    return explain(error)


def _expected(peer: str) -> "tuple[chanlink.PublicKey | None, chanlink.Trust | None]":
    """Which server we expect: one with this key, or with one of the keys in a file."""
    import chanlink

    if peer.startswith("ssh-"):
        try:
            return chanlink.PublicKey.parse(peer), None
        except chanlink.KeyFormatError as exc:
            raise chanlink.KeyFormatError(f"--peer: {exc}; give the line of a .pub file, or its name") from exc
    return None, chanlink.Trust.load(peer)


def _silence() -> None:
    """What the library logs would be a second line beside the one that says the same to the user."""
    import logging

    logging.getLogger("chanlink").addHandler(logging.NullHandler())


def _explain_broken(error: Exception, options: Options) -> str:
    """Why there is no connection to the server, or none any more."""
    import chanlink

    match error:
        case chanlink.ConnectFailed():
            return f"{error}; check the address, and that rexec serve runs there"
        case chanlink.UntrustedPeer():
            return _explain_untrusted(error.fingerprint, options)
        case chanlink.WrongPeer():
            return f"{options.address}: {error}; check the address, or give the right key with --peer"
        case chanlink.HandshakeError():
            return f"{options.address}: {error}; check that it is a rexec server"
        case chanlink.ChannelRefused(code="no-such-service"):
            return f"{options.address}: the server does not let us run commands; its trust file can allow our key more"
        case chanlink.SessionLost():
            return f"{options.address}: the connection was lost: {error.cause}"
    return f"{options.address}: the server gave up: {error}"


def _explain_untrusted(fingerprint: str, options: Options) -> str:
    ours = identity(options).public_key
    if fingerprint == ours.fingerprint:
        return f"{options.address}: the server does not trust our key; add this line to its trust file: {ours}"
    return f"{options.address}: the server has the key {fingerprint}, which is not in {options.peer}; see --peer"
