"""From a command line to options.

Imports wait until the arguments are clear, so that ``--help`` and mistakes are quick.

Each subcommand has a function that adds its parser, with `arguments.add_command`. The parser's defaults name the
function that does the work (``action``, from the options to the exit status) and the one that explains its errors
(``explain``).
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

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

ADDRESS is tcp://HOST:PORT (the port is 9323 if none is given), unix:/PATH, or a name in ~/.config/chanlink/hosts.toml.
Key and trust files have the formats of OpenSSH: make a key with "ssh-keygen -t ed25519", and put public keys into a
trust file, one a line.
"""


def parse(argv: Sequence[str], adders: Iterable[Callable[[Any], object]]) -> Options:
    """The options of a command line for the subcommands that these add.

    Everything after the first ``--`` is the remote command's.
    """
    split = argv.index("--") if "--" in argv else len(argv)
    parser = Parser("rexec", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=RAW)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in adders:
        add(commands)
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
