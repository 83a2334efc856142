"""What the subcommands have in common: who we are, whom we expect, where; and from there to a session or a listener."""

import argparse
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import chanlink
    from chanlink.services import Services

AUTHORIZED_PEERS = "~/.config/chanlink/authorized_peers"
KNOWN_PEERS = "~/.config/chanlink/known_peers"
DEFAULT_IDENTITY = "~/.config/chanlink/id_ed25519"
TRIES = 3
"""For a passphrase, as ssh has it."""


def add_command(commands: Any, name: str, description: str, notes: str, **kwargs: Any) -> argparse.ArgumentParser:
    """A subcommand; the first sentence of the description is its line in the list of commands."""
    first = description.partition(".")[0]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=first[0].lower() + first[1:],
        description=description,
        epilog=notes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **kwargs,
    )
    parser.set_defaults(command=name)
    return parser


def add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--identity",
        metavar="FILE",
        help=f"our private key (default: $CHANLINK_IDENTITY or {DEFAULT_IDENTITY}, made when it is missing)",
    )
    parser.add_argument(
        "--agent",
        action="store_true",
        help="use the key in the ssh-agent; if it has several, the one of which --identity is the .pub file",
    )


def add_psk(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--psk", metavar="FILE", help="a pre-shared key, the same on both sides (chanlink keygen --psk)"
    )


def add_expectations(parser: argparse.ArgumentParser) -> None:
    """Who connects: who we are, and which server we expect."""
    add_identity(parser)
    parser.add_argument("--peer", metavar="KEY|FILE", help="the server's public key, or a .pub file with it")
    parser.add_argument(
        "--known",
        metavar="FILE",
        default=KNOWN_PEERS,
        help=f"without --peer, the file that says which key the server has (default: {KNOWN_PEERS})",
    )
    parser.add_argument(
        "--first-use",
        action="store_true",
        help="trust whoever answers if that file does not know the server, and remember its key there",
    )
    add_psk(parser)
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=positive, default=10.0, help="for connecting (default: %(default)g)"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Who is connected to: who may."""
    parser.add_argument(
        "--trust",
        metavar="FILE",
        default=AUTHORIZED_PEERS,
        help=f"listening: public keys of those who may connect, one a line (default: {AUTHORIZED_PEERS})",
    )


def add_inspection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inspect",
        action="store_true",
        help="listening: let chanlink top look, for those whose line in the trust file allows chanlink.top",
    )


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def in_event_loop(
    function: Callable[[argparse.Namespace], Awaitable[int]],
) -> Callable[[argparse.Namespace], int]:
    """An action that is asynchronous.  Files are read before the loop starts, because that may ask for a passphrase."""

    def action(options: argparse.Namespace) -> int:
        import anyio

        from chanlink.sockets import parse_address

        backend, backend_options = _backend()
        if getattr(options, "address", None) is not None:
            parse_address(options.address)  # before a key is made, or a passphrase asked for
        if hasattr(options, "identity"):
            options.loaded = _load(options)
        return anyio.run(function, options, backend=backend, backend_options=backend_options)

    return action


def _backend() -> tuple[str, dict[str, Any]]:
    from .problems import Problem

    name = os.environ.get("CHANLINK_EVENT_LOOP") or "asyncio"
    if name not in ("asyncio", "uvloop", "trio"):
        raise Problem(f"CHANLINK_EVENT_LOOP={name!r} is not known; set it to asyncio, uvloop or trio")
    return ("asyncio", {"use_uvloop": True}) if name == "uvloop" else (name, {})


# --- who we are ---------------------------------------------------------------------------------


def _load(options: argparse.Namespace) -> "chanlink.Identity | chanlink.PublicKey | None":
    """Our identity; of one in an agent its public half, or None if there is only one there."""

    if options.agent:
        return None if options.identity is None else public_key(options.identity)
    return load_identity(options.identity) if options.identity is not None else default_identity()


def default_identity() -> "chanlink.Identity":
    """That of the user, made at first use."""
    import chanlink

    from .output import note

    path = default_path()
    missing = not os.path.lexists(os.path.expanduser(path))
    identity = load_identity(path) if not missing else chanlink.Identity.default()
    if missing:
        note(f"made a key of our own: {path}")
    return identity


def default_path() -> str:
    return os.environ.get("CHANLINK_IDENTITY") or DEFAULT_IDENTITY


def load_identity(path: str) -> "chanlink.Identity":
    """The key in a file; who sits at a terminal is asked for its passphrase."""
    import chanlink

    try:
        return chanlink.Identity.load(path)
    except chanlink.KeyFormatError as exc:
        if "has a passphrase" not in str(exc):
            raise
        return _ask(path, exc)


def _ask(path: str, problem: Exception) -> "chanlink.Identity":
    import getpass

    import chanlink

    from .problems import Problem

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
            if "passphrase" not in str(exc) or not left:
                raise Problem(f"{path}: the passphrase is wrong") from exc
        except EOFError as exc:
            raise Problem(f"{path}: no passphrase was given") from exc
    raise AssertionError("the last try returns or raises")


async def our_identity(options: argparse.Namespace) -> "chanlink.Identity":
    import chanlink

    loaded = options.loaded
    identity = loaded if isinstance(loaded, chanlink.Identity) else await chanlink.Identity.from_agent(loaded)
    options.own_key = identity.public_key  # for problems.py
    return identity


def public_key(text: str) -> "chanlink.PublicKey":
    """A key from the command line: itself, a .pub file, or ``-`` for standard input."""
    import sys

    import chanlink

    from .problems import Problem

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


# --- sessions -----------------------------------------------------------------------------------


@asynccontextmanager
async def connected(options: argparse.Namespace) -> "AsyncGenerator[chanlink.Session, None]":
    """A session with the server at ``options.address``."""
    import chanlink

    _silence()
    peer = public_key(options.peer) if options.peer is not None else None
    trust = chanlink.KnownPeers.load(options.known, first_use=options.first_use) if peer is None else None
    async with chanlink.connect(
        options.address,
        identity=await our_identity(options),
        peer=peer,
        trust=trust,
        timeout=options.timeout,
        psk=options.psk,
    ) as session:
        yield session


@asynccontextmanager
async def listening(
    address: str, options: argparse.Namespace, services: "Services"
) -> "AsyncGenerator[chanlink.Listener, None]":
    """A listener; it says on standard error where it listens, and with which key."""
    import logging

    import chanlink

    from .output import note

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    inspection = chanlink.Inspection()
    if getattr(options, "inspect", False):
        services = {**services, inspection.SERVICE: inspection}
    trust, identity = chanlink.Trust.load(options.trust), await our_identity(options)
    async with chanlink.listen(address, identity=identity, trust=trust, services=services, psk=options.psk) as listener:
        inspection.watch(listener)
        note(f"public key {identity.public_key}")
        note(f"listening on {' '.join(listener.addresses)}")
        yield listener


@asynccontextmanager
async def asking(session: "chanlink.Session", service: str) -> "AsyncGenerator[chanlink.Sender[Any], None]":
    """A channel to a service, for messages with ends; that it is refused is said for them, too."""
    import anyio

    import chanlink

    async with await session.open(service) as requests:
        try:
            yield requests
        except chanlink.ChannelFailed as exc:
            if exc.code == "not-taken":  # because nobody took the message that they were in
                with anyio.move_on_after(1.0):
                    raise await requests.wait_closed() from exc
            raise


async def serve_until_stopped(address: str, options: argparse.Namespace, services: "Services") -> None:
    """Listen until interrupted; what is at work then is cut, because it may never end by itself."""
    import anyio

    async def serve() -> None:
        async with listening(address, options, services):
            await anyio.sleep_forever()

    await until_stopped(serve)


async def until_stopped(function: Callable[[], Awaitable[None]]) -> None:
    """Call a function that may go on for ever; somebody who interrupts us cancels it."""
    import signal

    import anyio

    # From the beginning: who has read that we are listening may interrupt us at once.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await anext(signals)
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop)
            await function()
            tasks.cancel_scope.cancel()


def _silence() -> None:
    """What the library logs would be a second line beside the one that says the same to the user."""
    import logging

    logging.getLogger("chanlink").addHandler(logging.NullHandler())
