"""The command line.  Imports wait until the arguments are clear, so that ``--help`` and mistakes are quick.

Each subcommand is a module of `commands`: its ``add`` adds the parser, whose defaults name the function that does the
work (``action``, from the options to the exit status) and the one that explains its errors (``explain``).
"""

import errno
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from .arguments import RAW, Options, Parser
from .descriptors import FAILED, ROOM, complain, has_room, refuse_output
from .interrupts import die_of

COMMANDS = ("run", "cp", "ps", "attach", "kill", "share", "serve", "key")
"""The modules in `commands`, in the order of ``--help``."""

DESCRIPTION = "Run commands on another machine, encrypted and authenticated by keys."
EXAMPLES = """\
examples:
  rexec key                                   print our public key, for the trust file of a server
  rexec serve --listen tcp://0.0.0.0:9323     let the keys in ~/.config/chanlink/authorized_peers run commands here
  rexec run --peer server.pub tcp://build:9323 -- make -j8
  tar c src | rexec run tcp://build -- tar x -C /tmp
  rexec run tcp://build --shell -- 'ls *.log | wc -l'
  rexec run -t tcp://build -- bash
  rexec run --detach --name nightly tcp://build -- make world     then rexec ps, rexec attach, rexec kill
  rexec cp -r dist tcp://build:/srv/www

ADDRESS is tcp://HOST:PORT (the port is 9323 if none is given), unix:/PATH, or a name in ~/.config/chanlink/hosts.toml.
Key and trust files have the formats of OpenSSH: make a key with "ssh-keygen -t ed25519", and put public keys into a
trust file, one a line.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``rexec``; returns its exit status."""
    options = parse(sys.argv[1:] if argv is None else argv)
    if not options.announces:
        refuse_output()
    if not has_room():
        complain(f"{os.strerror(errno.EMFILE)}: it takes {ROOM} beside those that are open (see ulimit -n)")
        return FAILED
    try:
        status: int = options.action(options)
        return status
    except KeyboardInterrupt:
        die_of(signal.SIGINT)
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


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line.  Everything after the first ``--`` is the remote command's."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = Parser("rexec", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=RAW)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # Whoever names a command pays for no other one.
    for name in argv[:1] if argv[:1] and argv[0] in COMMANDS else COMMANDS:
        import_module(f".commands.{name}", __package__).add(commands)
    options, extra = parser.parse_known_args(argv[:split])
    if extra and extra[0][:1] != "-" and options.takes_words and split == len(argv):
        parser.error(f"write -- before the command: rexec run [OPTION]... ADDRESS -- {shlex.join(extra)}")
    if extra:  # what is wrong is the option that was misspelt, not what follows it
        parser.error(f"unrecognized arguments: {' '.join([word for word in extra if word[:1] == '-'] or extra)}")
    options.words = list(argv[split + 1 :])
    if options.takes_words and not options.words:
        parser.error("no command is given; write it after --")
    if options.words and not options.takes_words:
        parser.error("only run takes a command")
    return options
