"""From the arguments to an exit status: 0, 1 for what went wrong, 2 for wrong arguments."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import chanlink
from chanlink.printing import printable_traceback

from .commands import (
    bench,
    cat,
    completion,
    daemon,
    directory,
    forward,
    graph,
    hosts,
    identity,
    keygen,
    peers,
    ping,
    queue,
    stdio,
    top,
)
from .interrupts import die_of, end_though_first, let_interrupts_end_us, let_interrupts_raise
from .output import complain, finish, note, prepare, refuse_output
from .problems import Usage, explain, first_of

FAILED, USAGE = 1, 2
COMMANDS = (
    keygen,
    identity,
    peers,
    hosts,
    ping,
    cat,
    forward,
    stdio,
    bench,
    top,
    graph,
    queue,
    directory,
    daemon,
    completion,
)

DESCRIPTION = "Keys, connections and byte streams of chanlink: encrypted, and authenticated by keys as ssh has them."
NOTES = """\
examples:
  chanlink keygen                                    make a key of our own
  chanlink id                                        print its public half, for the other side
  chanlink peers add tcp://build:9323 build.pub      the key of a server that we connect to
  chanlink ping tcp://build:9323                     is it there, is it the right one, how far is it?
  tar c src | chanlink cat tcp://build:9323 upload   bytes to a service
  chanlink forward --listen tcp://127.0.0.1:8080 tcp://build:9323 --to tcp://127.0.0.1:80

ADDRESS is tcp://HOST:PORT (the port is 9323 if none is given) or unix:/PATH; where we connect, also a name in
~/.config/chanlink/hosts.toml (see chanlink hosts), or chanlink://NAME (see chanlink directory). Each command has
examples of its own: chanlink COMMAND --help. The exit status is 0, 1 when something went wrong, 2 for wrong arguments.

environment:
  CHANLINK_IDENTITY     our private key, in place of ~/.config/chanlink/id_ed25519
  CHANLINK_DIRECTORY    whom to ask where chanlink://NAME is: 'tcp://HOST:PORT ssh-ed25519 AAAA...'
  CHANLINK_EVENT_LOOP   asyncio (the default), uvloop or trio
  CHANLINK_SUITES       the record suites that may be used: aegis256, chachapoly
"""


def program() -> int:
    """The command ``chanlink``, as a process of its own; returns its exit status."""
    let_interrupts_end_us()
    end_though_first()
    status = main()
    let_interrupts_end_us()
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``chanlink``; returns its exit status."""
    prepare()
    try:
        status = _run(argv)
    except SystemExit as exc:  # of the parser
        status = exc.code if isinstance(exc.code, int) else FAILED
    return finish(status, FAILED)


def _run(argv: Sequence[str] | None) -> int:
    options = make_parser().parse_args(argv)
    if not options.announces:
        refuse_output()
    let_interrupts_raise()
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
    parser.add_argument("--version", action="version", version=f"chanlink {chanlink.__version__}")
    parser.set_defaults(parser=parser)  # for completion.py
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What is said to be wrong is the option that was misspelt, not what follows it."""
        options, extra = self.parse_known_args(args, namespace)
        if extra:
            self.error(f"unrecognized arguments: {' '.join([word for word in extra if word[0] == '-'] or extra)}")
        return options

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        raise SystemExit(USAGE)


def _failed(error: BaseException, options: argparse.Namespace) -> int:
    """Say what went wrong, in one line; what is a defect of ours deserves its traceback."""
    error = first_of(error)
    if isinstance(error, KeyboardInterrupt):
        die_of(signal.SIGINT)
    if isinstance(error, BrokenPipeError):  # nobody reads what we print
        die_of(signal.SIGPIPE)
    if not isinstance(error, Exception):
        raise error
    problem = explain(error, options)
    if problem is not None:
        complain(problem)
        return USAGE if isinstance(error, Usage) else FAILED
    complain("a defect; what follows is for those who mend it")
    for line in printable_traceback(error).splitlines():  # a server's words may be in it
        note(line)
    return FAILED
