"""From the arguments to an exit status: 0, 1 for what went wrong, 2 for wrong arguments."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from chanlink.printing import printable_traceback

from . import bench, cat, completion, forward, identity, keygen, peers, ping, top
from .output import complain

VERSION = "0.1.0"
FAILED, USAGE = 1, 2
COMMANDS = (keygen, identity, peers, ping, cat, forward, bench, top, completion)

DESCRIPTION = "Keys, connections and byte streams of chanlink: encrypted, and authenticated by keys as ssh has them."
NOTES = """\
examples:
  chanlink keygen                                    make a key of our own
  chanlink id                                        print its public half, for the other side
  chanlink peers add tcp://build:9323 build.pub      the key of a server that we connect to
  chanlink ping tcp://build:9323                     is it there, is it the right one, how far is it?
  tar c src | chanlink cat tcp://build:9323 upload   bytes to a service
  chanlink forward --listen tcp://127.0.0.1:8080 tcp://build:9323 --to tcp://127.0.0.1:80

ADDRESS is tcp://HOST:PORT (the port is 9323 if none is given) or unix:/PATH. Each command has examples of its own:
chanlink COMMAND --help. The exit status is 0, 1 when something went wrong, 2 for wrong arguments.

environment:
  CHANLINK_IDENTITY     our private key, in place of ~/.config/chanlink/id_ed25519
  CHANLINK_EVENT_LOOP   asyncio (the default), uvloop or trio
  CHANLINK_SUITES       the record suites that may be used: aegis256, chachapoly
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``chanlink``; returns its exit status."""
    options = make_parser().parse_args(argv)
    _fill_standard_descriptors()
    try:
        status: int = options.action(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BaseException as exc:
        return _failed(exc, options)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all arguments."""
    parser = _Parser(
        "chanlink", description=DESCRIPTION, epilog=NOTES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"chanlink {VERSION}")
    parser.set_defaults(parser=parser)  # for completion.py
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        raise SystemExit(USAGE)


def _failed(error: BaseException, options: argparse.Namespace) -> int:
    """Say what went wrong, in one line; what is a defect of ours deserves its traceback."""
    from .problems import Usage, explain, first_of

    error = first_of(error)
    if isinstance(error, KeyboardInterrupt):
        _die_of(signal.SIGINT)
    if isinstance(error, BrokenPipeError):  # nobody reads what we print
        _die_of(signal.SIGPIPE)
    problem = explain(error, options) if isinstance(error, Exception) else None
    if problem is None:
        if not isinstance(error, Exception):
            raise error
        print(f"a defect of chanlink:\n{printable_traceback(error)}", file=sys.stderr)  # a server's words may be in it
        return FAILED
    complain(problem)
    _forget_output()
    return USAGE if isinstance(error, Usage) else FAILED


def _fill_standard_descriptors() -> None:
    """A descriptor that the caller has closed is opened: else a connection of ours could become standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _forget_output() -> None:
    """What could not be printed must not be tried again, and complained about a second time, at the exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _die_of(number: signal.Signals) -> NoReturn:
    """End as a process does that was interrupted: a shell that runs a script ends the script then."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise AssertionError("a signal with its default action ends the process")
