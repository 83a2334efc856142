"""From a command line to options.

Imports wait until the arguments are clear, so that ``--help`` and mistakes are quick.

Each subcommand has a function that adds its parser, with `arguments.add_command`. The parser's defaults name the
function that does the work (``action``, from the options to the exit status) and the one that explains its errors
(``explain``).
"""

import argparse
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import __version__
from .arguments import RAW, Options, Parser

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

ADDRESS is tcp://HOST:PORT (the port is 9323 if none is given), unix:/PATH, or a name in ~/.config/chanlink/hosts.toml;
with --local, a host that the chanlink daemon of this machine knows.
Key and trust files have the formats of OpenSSH: make a key with "ssh-keygen -t ed25519", and put public keys into a
trust file, one a line. Each command has examples of its own: rexec COMMAND --help.

The exit status of run, and of attach, is that of the remote command; of the others it is 0. It is 255 for errors of
rexec itself, also for wrong arguments. Interrupted by Ctrl-C, rexec ends by that signal.
"""


def parse(argv: Sequence[str], adders: Iterable[Callable[[Any], object]]) -> Options:
    """The options of a command line for the subcommands that these add.

    Everything after the first ``--`` is the remote command's; with ``--shell`` it may be missing.
    """
    split = argv.index("--") if "--" in argv else len(argv)
    parser = Parser("rexec", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=RAW)
    parser.add_argument("--version", action="version", version=f"rexec {__version__}")
    parser.set_defaults(whole=parser)  # for completion
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in adders:
        add(commands)
    if split == len(argv):
        _let_words_follow(commands.choices)
    options, extra = parser.parse_known_args(argv[:split])
    following = getattr(options, "following", [])
    if following and not options.shell:
        if following[0][:1] != "-":
            parser.error(f"write -- before the command: rexec run [OPTION]... ADDRESS -- {shlex.join(following)}")
        following = []
    if extra and options.takes_words and not any(word[:1] == "-" for word in extra):
        parser.error(
            f"one ADDRESS is taken; write {','.join([options.address, *extra])} with commas, and patterns in quotes"
        )
    if extra:  # what is wrong is the option that was misspelt, not what follows it
        parser.error(f"unrecognized arguments: {' '.join([word for word in extra if word[:1] == '-'] or extra)}")
    options.words = list(argv[split + 1 :]) or following
    if options.takes_words and not options.words:
        parser.error("no command is given; write it after --")
    if options.words and not options.takes_words:
        parser.error("only run takes a command")
    return options


def _let_words_follow(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Have what follows the address be the command, as with ssh, where there is no ``--``."""
    for parser in commands.values():
        if parser.get_default("takes_words"):
            parser.add_argument("following", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
