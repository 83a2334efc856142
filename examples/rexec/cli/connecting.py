"""From the options of a client's command to a session with a server."""

import argparse
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from .arguments import Options, add_identity, seconds
from .descriptors import complain

if TYPE_CHECKING:
    import chanlink

NO_TERMINAL = "there is no terminal to ask on whether the server is the right one; say --peer KEY or --accept-new"
BY_DAEMON = "the daemon of this machine connects, has the key, and knows the server"
BY_SSH = ("rexec", "stdio")
"""What an ssh runs on the other machine."""
SERVER = "of the server: tcp://HOST:PORT, unix:/PATH, ssh://HOST, or a name in ~/.config/chanlink/hosts.toml"


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The options that `connected` reads, except the address, which each command has in a place of its own."""
    add_identity(parser)
    parser.add_argument(
        "--peer",
        metavar="KEY|FILE",
        help="the server's public key, or a file of public keys of which it has one"
        " (default: what ~/.config/chanlink/known_peers says of that address)",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        help="while nobody listens there, try again for this long (default: not at all)",
    )
    parser.set_defaults(ask=ask_on_terminal, resume=0.0, local=False)
    unknown = parser.add_mutually_exclusive_group()
    unknown.add_argument(
        "--first-use",
        action="store_true",
        help="if the server is not known: show the fingerprint of its key, ask, and remember the key",
    )
    unknown.add_argument(
        "--accept-new",
        action="store_true",
        help="if the server is not known: take its key for the right one without asking, and remember it",
    )


def add_local(parser: argparse.ArgumentParser) -> None:
    """The option ``--local``, of what needs the service of commands alone: such a session is for one service."""
    parser.add_argument(
        "--local",
        action="store_true",
        help="ADDRESS is a host that the chanlink daemon of this machine knows: it connects, with the key that it has"
        " for us",
    )


class Destination(NamedTuple):
    """Where to connect to, as the options and `chanlink.Host` say together."""

    name: str
    """As the user called it."""
    address: str
    identity: str | None
    """The file of our key; None for the default."""
    peer: "chanlink.PublicKey | str | None"
    """The key that the server has, or a file of keys; None: see known_peers."""
    user: str | None = None
    local: "chanlink.Local | None" = None
    """The same for the daemon of this machine, if it is to connect."""


def destination(options: Options, name: str) -> Destination:
    """What the options say about the server called ``name``. Raises `chanlink.ConfigError`."""
    import chanlink

    if options.local:
        return _known_to_daemon(options, name)
    return destination_of(options, chanlink.Host.find(name))


def _known_to_daemon(options: Options, name: str) -> Destination:
    import chanlink

    from ..messages import SERVICE

    for option in ("identity", "peer", "first_use", "accept_new"):
        if getattr(options, option):
            raise chanlink.ConfigError(f"--{option.replace('_', '-')} does not go with --local: {BY_DAEMON}")
    return Destination(name, name, None, None, local=chanlink.Local(name, service=SERVICE))


def destination_of(options: Options, host: "chanlink.Host") -> Destination:
    """What the options say about this server. Raises `chanlink.ConfigError`."""
    import chanlink

    peer = options.peer or host.key
    if isinstance(peer, str) and peer.startswith("ssh-"):
        try:
            peer = chanlink.PublicKey.parse(peer)
        except chanlink.KeyFormatError as exc:
            raise chanlink.KeyFormatError(f"--peer: {exc}; give the line of a .pub file, or its name") from exc
    return Destination(host.name, host.address, options.identity or host.identity, peer, host.user)


class Disconnected(Exception):
    """There is no session with a server, or none any more; ``__cause__`` is why."""

    def __init__(self, where: Destination) -> None:
        super().__init__(where.name)
        self.where = where


@asynccontextmanager
async def connected(options: Options, name: str = "") -> "AsyncGenerator[chanlink.Session, None]":
    """A session with the server called ``name``, or else as ``options.address`` says. Raises as `connected_to`."""
    async with connected_to(destination(options, name or options.address), options) as session:
        yield session


@asynccontextmanager
async def connected_to(where: Destination, options: Options) -> "AsyncGenerator[chanlink.Session, None]":
    """A session with a server; if it is not known yet, what the options say about that is done.

    Raises `Disconnected` for a `chanlink.SessionError` or `chanlink.ChannelBroken`, also of the block.
    """
    import chanlink

    from ..logs import log_problems_only

    log_problems_only()
    try:
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(_session(where, options))
    except (chanlink.SessionError, chanlink.ChannelBroken) as exc:
        raise Disconnected(where) from exc


@asynccontextmanager
async def _session(where: Destination, options: Options) -> "AsyncGenerator[chanlink.Session, None]":
    import chanlink

    from ..messages import LIMITS

    if where.local is not None:
        by_daemon = chanlink.connect(where.local, wait=options.wait, limits=LIMITS, resume=options.resume)
        async with by_daemon as session:
            yield session
        return
    address: Any = where.address
    resume = options.resume
    if where.address.startswith("ssh://"):
        address = chanlink.Ssh.parse(where.address, command=BY_SSH)
        if getattr(options, "terminal", False):
            resume = 0.0  # which nobody has asked for: a terminal has it where it can be had
    identity = our_identity(where)
    peer = where.peer if isinstance(where.peer, chanlink.PublicKey) else None
    trust = chanlink.Trust.load(where.peer) if isinstance(where.peer, str) else None
    async with AsyncExitStack() as stack:

        async def connect(peer: Any, trust: Any) -> chanlink.Session:
            connection = chanlink.connect(
                address,
                identity=identity,
                peer=peer,
                trust=trust,
                wait=options.wait,
                limits=LIMITS,
                resume=resume,
            )
            return await stack.enter_async_context(connection)

        try:
            session = await connect(peer, trust)
        except chanlink.UntrustedPeer as exc:
            if not exc.key or not (options.first_use or options.accept_new):
                raise
            key = chanlink.PublicKey.parse(exc.key)
            await meet(where, key, options)
            session = await connect(key, chanlink.KnownPeers.load(first_use=True))
        yield session


def our_identity(where: Destination) -> "chanlink.Identity":
    import chanlink

    return chanlink.Identity.load(where.identity) if where.identity else chanlink.Identity.default()


# --- servers that are not known -----------------------------------------------------------------


async def meet(where: Destination, key: "chanlink.PublicKey", options: Options) -> None:
    """Let the user decide whether this is the right key of a server that is not known, and that has proved to have it.

    Raises `chanlink.UntrustedPeer` if not.
    """
    import chanlink

    question = f"The server at {where.address} is not known. Its key is {key.fingerprint} (Ed25519).\n"
    if options.accept_new:
        complain(f"{where.address}: the key {key.fingerprint} is trusted from now on")
    elif not await options.ask(question + "Is that the right one? It will be remembered (yes/no): "):
        raise chanlink.UntrustedPeer(key.fingerprint, "you said that it is not the right one")


async def ask_on_terminal(question: str) -> bool:
    """Whether the user says yes, at the terminal that this process has."""
    import anyio.to_thread

    import chanlink

    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:
            terminal.write(question.encode())
            answer = await anyio.to_thread.run_sync(terminal.readline)
    except OSError as exc:
        raise chanlink.ConfigError(NO_TERMINAL) from exc
    return answer.strip().lower() == b"yes"
