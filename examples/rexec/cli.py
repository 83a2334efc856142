"""The command line.  Imports wait until the arguments are clear, so that ``--help`` and mistakes are quick."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import chanlink

FAILED = 255
"""The exit status for our own errors, as ssh has it; a command's own status is passed on as it is."""
NOT_STARTED = 127
"""The exit status of a command that can't be started, as in a shell."""

AUTHORIZED_PEERS = "~/.config/chanlink/authorized_peers"
TRUSTED_SERVERS = "~/.config/chanlink/trusted_servers"
LISTEN = "tcp://127.0.0.1:9323"

DESCRIPTION = "Run commands on another machine, encrypted and authenticated by keys."
EXAMPLES = """\
examples:
  rexec key                                   print our public key, for the trust file of a server
  rexec serve --listen tcp://0.0.0.0:9323     let the keys in ~/.config/chanlink/authorized_peers run commands here
  rexec run --peer server.pub tcp://build:9323 -- make -j8
  tar c src | rexec run tcp://build -- tar x -C /tmp
  rexec run tcp://build --shell -- 'ls *.log | wc -l'

ADDRESS is tcp://HOST:PORT (the port is 9323 if none is given) or unix:/PATH. Key and trust files have the formats of
OpenSSH: make a key with "ssh-keygen -t ed25519", and put public keys into a trust file, one a line.
"""
RUN_NOTES = """\
The words after -- reach the command exactly as they are; there is no shell unless --shell is given. stdin, stdout and
stderr are the command's. The exit status is that of the command; 128 + n if signal n ended it, 127 if it can't be
started, 255 for errors of rexec and of the connection. Interrupted, rexec stops the command.

examples:
  rexec run --peer server.pub tcp://build:9323 -- make -j8
  rexec run --peer "$(cat server.pub)" unix:/run/rexec.sock -- sha256sum < big.iso
  rexec run -C /var/log -e LC_ALL=C --shell tcp://build -- 'ls *.log | wc -l'
"""
SERVE_NOTES = """\
Prints a line with its addresses and one with its public key, and serves until it is interrupted. Whoever has a key in
the trust file may run anything that this user may run; a line that begins with services="other" does not allow it.

examples:
  rexec serve
  rexec serve --listen tcp://0.0.0.0:9323 --trust ~/.ssh/authorized_keys
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``rexec``; returns its exit status."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    _fill_standard_descriptors()
    try:
        import anyio

        status: int = anyio.run(options.action, options)
        return status
    except KeyboardInterrupt:
        return _die_of(signal.SIGINT)
    except Exception as exc:
        problem = _explain(exc, options)
        if problem is None:
            raise
        _complain(problem)
        return FAILED


def _fill_standard_descriptors() -> None:
    """A descriptor that the caller has closed is opened: else our connection could become standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _die_of(number: signal.Signals) -> NoReturn:
    """End as a process does that was interrupted: a shell that runs a script ends the script then."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise AssertionError("a signal with its default action ends the process")


# --- arguments ----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"rexec: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(FAILED)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Everything after the first ``--`` is the remote command's: argparse never sees it."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = _parser()
    options = parser.parse_args(argv[:split])
    options.words = list(argv[split + 1 :])
    if options.action is _run and not options.words:
        parser.error("no command is given; write it after --")
    if options.action is not _run and options.words:
        parser.error("only run takes a command")
    return options


def _parser() -> _Parser:
    parser = _Parser("rexec", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=_RAW)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_serve(commands)
    key = commands.add_parser("key", help="print our public key", description="Print our public key.")
    _add_identity(key)
    key.set_defaults(action=_key)
    return parser


_RAW = argparse.RawDescriptionHelpFormatter


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="run a command",
        description="Run a command on a server.",
        epilog=RUN_NOTES,
        formatter_class=_RAW,
        usage="rexec run [OPTION]... ADDRESS -- COMMAND [ARGUMENT]...",
    )
    run.add_argument("address", metavar="ADDRESS", help="of the server: tcp://HOST:PORT or unix:/PATH")
    _add_identity(run)
    run.add_argument(
        "--peer",
        metavar="KEY|FILE",
        default=TRUSTED_SERVERS,
        help=f"the server's public key, or a file of public keys of which it has one (default: {TRUSTED_SERVERS})",
    )
    run.add_argument("-C", "--directory", metavar="FOLDER", help="run the command there")
    run.add_argument(
        "-e",
        "--environment",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_variable,
        help="set a variable for the command; may be given several times",
    )
    run.add_argument("--shell", action="store_true", help="join the words and give them to /bin/sh -c")
    run.set_defaults(action=_run)


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="let others run commands here",
        description="Let trusted peers run commands here.",
        epilog=SERVE_NOTES,
        formatter_class=_RAW,
    )
    serve.add_argument("--listen", metavar="ADDRESS", default=LISTEN, help=f"where to listen (default: {LISTEN})")
    _add_identity(serve)
    serve.add_argument(
        "--trust",
        metavar="FILE",
        default=AUTHORIZED_PEERS,
        help=f"who may run commands: public keys, one a line (default: {AUTHORIZED_PEERS})",
    )
    serve.set_defaults(action=_serve)


def _add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--identity",
        metavar="FILE",
        help="our private key (default: ~/.config/chanlink/id_ed25519, which is made when it is missing)",
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


# --- rexec key, rexec run, rexec serve ----------------------------------------------------------


def _identity(options: argparse.Namespace) -> "chanlink.Identity":
    import chanlink

    return chanlink.Identity.load(options.identity) if options.identity else chanlink.Identity.default()


async def _key(options: argparse.Namespace) -> int:
    print(_identity(options).public_key)
    return 0


async def _run(options: argparse.Namespace) -> int:
    import chanlink

    from .messages import StartError, shell_status

    _silence()
    peer, trust = _expected(options.peer)
    async with chanlink.connect(options.address, identity=_identity(options), peer=peer, trust=trust) as session:
        try:
            return shell_status(await _run_here(session, options))
        except StartError as exc:
            _complain(f"{exc.code}: {exc.text}")
            return NOT_STARTED


async def _run_here(session: "chanlink.Session", options: argparse.Namespace) -> int:
    """Run the command with our own standard input and outputs."""
    from .client import run
    from .pumps import open_standard_input, open_standard_output

    words = ["/bin/sh", "-c", " ".join(options.words)] if options.shell else options.words
    async with (
        open_standard_input() as stdin,
        open_standard_output(1) as stdout,
        open_standard_output(2) as stderr,
    ):
        done = await run(
            session,
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            directory=options.directory,
            environment=dict(options.environment),
        )
    return done.status


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


async def _serve(options: argparse.Namespace) -> int:
    import logging

    import anyio

    import chanlink

    from .server import SERVICE, rexec

    identity, trust = _identity(options), chanlink.Trust.load(options.trust)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        with anyio.CancelScope() as serving:
            async with chanlink.listen(
                options.listen, identity=identity, trust=trust, services={SERVICE: rexec}
            ) as listener:
                print("listening on", *listener.addresses)
                print("public key", identity.public_key, flush=True)
                await anext(signals)
                serving.cancel()  # the commands are stopped on the way out
                await anyio.sleep_forever()
    return 0


# --- errors -------------------------------------------------------------------------------------


def _complain(problem: str) -> None:
    from .messages import printable

    print(f"rexec: {printable(problem)}", file=sys.stderr)


def _explain(error: Exception, options: argparse.Namespace) -> str | None:
    """What went wrong and what to do, in one line; None for a defect of ours, which deserves its traceback."""
    import chanlink

    from .messages import BadMessage

    match error:
        case chanlink.KeyFormatError() if isinstance(error.__cause__, FileNotFoundError):
            return f"{error}; make a key with: ssh-keygen -t ed25519 -N '' -f FILE"
        case chanlink.TrustFormatError() if options.action is _serve:
            return f"{error}; it holds the public keys of those who may run commands, one a line (see: rexec key)"
        case chanlink.TrustFormatError() if options.peer == TRUSTED_SERVERS:
            return f"{error}; give the server's public key with --peer, or put it into this file"
        case chanlink.SessionError() | chanlink.ChannelBroken() if options.action is _run:
            return _explain_broken(error, options)
        case chanlink.ChanlinkError() | BadMessage():
            return str(error)
        case OSError():
            return f"can't read or write: {error.strerror or error}"
    return None


def _explain_broken(error: Exception, options: argparse.Namespace) -> str:
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


def _explain_untrusted(fingerprint: str, options: argparse.Namespace) -> str:
    ours = _identity(options).public_key
    if fingerprint == ours.fingerprint:
        return f"{options.address}: the server does not trust our key; add this line to its trust file: {ours}"
    return f"{options.address}: the server has the key {fingerprint}, which is not in {options.peer}; see --peer"
