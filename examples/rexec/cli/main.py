"""The command line: finds the subcommand, does what it is to do, and says in a line what went wrong.

Each subcommand is a module of `commands`; its ``add`` adds the parser, as `parsing` wants it.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from .descriptors import FAILED, ROOM, complain, has_room, refuse_output
from .interrupts import Signalled, die_of
from .parsing import parse

COMMANDS = ("run", "cp", "ps", "attach", "kill", "share", "serve", "stdio", "key", "completion")
"""The modules in `commands`, in the order of ``--help``."""
NEEDS_ALL = "completion"
"""The command that looks at the parsers of the others."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``rexec``; returns its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv, _adders(argv))
    if not options.announces:
        refuse_output()
    if not has_room():
        complain(f"{os.strerror(errno.EMFILE)}: it takes {ROOM} besides those that are open (see ulimit -n)")
        return FAILED
    try:
        status: int = options.action(options)
        return status
    except KeyboardInterrupt:
        die_of(signal.SIGINT)
    except Signalled as exc:
        die_of(exc.number)
    except BrokenPipeError:  # nobody reads what we print
        die_of(signal.SIGPIPE)
    except Exception as exc:
        problem = options.explain(exc, options)
        if problem is None:
            from ..logs import logger

            logger.critical("a defect of rexec", exc_info=exc)  # so that a server's words in it are printable
        else:
            from . import explaining

            explaining.complain(problem)
        return FAILED


def _adders(argv: Sequence[str]) -> Iterator[Callable[[Any], object]]:
    """The functions that add parsers: of one command if it is named, so that it does not pay for the others."""
    for name in argv[:1] if argv[:1] and argv[0] in COMMANDS and argv[0] != NEEDS_ALL else COMMANDS:
        yield import_module(f".commands.{name}", __package__).add
