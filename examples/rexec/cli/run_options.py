"""The options of ``rexec run``, which the keeper of shared sessions reads as well. It imports next to nothing."""

import argparse
from collections.abc import Callable
from typing import Any

from .arguments import Options, add_command, duration, seconds
from .broken import explain_client
from .connecting import SERVER, add_connection, add_local
from .names import means_many

AT_ONCE = 32
"""Servers on which a command runs at a time, unless ``--at-once`` says otherwise."""
AT_ONCE_MOST = 500
"""Each of them takes a descriptor, of which a process has a thousand, usually."""
RESUME = 120.0
"""Seconds in which a session with a terminal may come back, unless ``--resume`` says otherwise."""
IDLE = 600
"""Seconds for which an unused shared session is kept, unless ``--share-for`` says otherwise."""

NOTES = """\
The words after -- reach the command exactly as they are; there is no shell unless --shell is given. stdin, stdout and
stderr are the command's. The exit status is that of the command; 128 + n if signal n ended it, 127 if it can't be
started, 255 for errors of rexec and of the connection. It comes when both outputs have ended; a process that the
command has left behind and that says nothing is waited for ten seconds.

Standard input is read as it comes, also what a loop around rexec wanted to read: -n leaves it alone.

Ctrl-C is passed on to the command; a second one gives it up. A command that is given up, or whose connection is lost,
gets TERM with all its children, and KILL after five seconds (rexec serve --grace).

With -t the command has a terminal, and what you type goes to it as it is. "~." at the beginning of a line gives up.

With --resume the command goes on when the connection breaks, or the network is another one: rexec connects again for so
long, says so in a line, and nothing is lost. Without a terminal that is so only where it is asked for. A command whose
rexec is killed without a word (kill -9) runs on for so long. "~.", TERM and HUP end rexec at once, also meanwhile.

Without --, but with --shell, all that follows ADDRESS is the command, as with ssh: for git and rsync.

ADDRESS may be a list of names with commas, and a name a pattern with * ? and [...], in quotes lest the shell looks for
files; chanlink://web* is looked up in a directory ($CHANLINK_DIRECTORY). The command runs on all of these servers then,
with an empty input. Each line of output has the name of its server in front. The last line of stderr says the statuses,
and the largest is ours. A server that can't be reached is a line, and a status of 255. Ctrl-C is passed on to all
commands that run, and no other begins; a second one ends them.

examples:
  rexec run --peer server.pub tcp://build:9323 -- make -j8
  rexec run --peer "$(cat server.pub)" unix:/run/rexec.sock -- sha256sum < big.iso
  rexec run -C /var/log -e LC_ALL=C --shell tcp://build -- 'ls *.log | wc -l'
  rexec run -t tcp://build -- bash
  rexec run --resume 10m build -- ./nightly
  GIT_SSH_COMMAND="rexec run --resume 5m --shell" git clone build:/srv/repository
  rexec run --at-once 4 'web*,db1' -- sudo systemctl restart app
  rexec run --local build -- make -j8         (by the chanlink daemon, without a key of ours)
  rexec run --limit memory=2G --limit time=10m tcp://build -- ./test
  rexec run --detach --name nightly tcp://build -- make world     (see rexec ps, rexec attach, rexec kill)
"""


def add_run(commands: Any, action: Callable[[Options], int] | None = None) -> None:
    """Add the parser of ``rexec run``, whose work ``action`` does; the keeper does it in its own way."""
    # Whole: a list of options.
    run = add_command(
        commands,
        "run",
        action,
        explain_client,
        help="run a command",
        description="Run a command on a server.",
        epilog=NOTES,
        takes_words=True,
        usage="rexec run [OPTION]... ADDRESS -- COMMAND [ARGUMENT]...",
    )
    run.add_argument("address", metavar="ADDRESS", help=SERVER)
    add_connection(run)
    add_local(run)
    run.add_argument(
        "--share",
        action="store_true",
        help="use a session that is kept open for the next call, which is quicker then (see rexec share)",
    )
    run.add_argument(
        "--share-for",
        metavar="SECONDS",
        type=seconds,
        default=IDLE,
        help=f"how long a shared session is kept when nobody uses it (default: {IDLE})",
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
    run.add_argument("--user", metavar="NAME", help="run the command as this user, if the server may do that")
    run.add_argument(
        "--limit",
        metavar="NAME=MOST",
        action="append",
        default=[],
        type=_limit,
        dest="limits",
        help="what it may use: processor=10m, memory=2G, files=100, processes=50, time=1h; may be given several times",
    )
    run.add_argument(
        "--resume",
        metavar="TIME",
        type=duration,
        default=None,  # not the one that other commands have
        help="go on over another connection when this one breaks, for so long: 90, 5m, 1h; 0 for not at all"
        f" (default: {RESUME / 60:.0f}m with a terminal, else 0)",
    )
    run.add_argument(
        "--at-once",
        metavar="COUNT",
        type=_at_once,
        default=AT_ONCE,
        help=f"with several servers: on how many of them at a time (default: {AT_ONCE})",
    )
    run.add_argument("--shell", action="store_true", help="join the words and give them to /bin/sh -c")
    run.add_argument("--progress", action="store_true", help="show how much goes in and out, if that is no terminal")
    run.add_argument(
        "-n", "--no-stdin", action="store_true", help="let the command's input be empty, and leave ours to others"
    )
    run.add_argument("-t", "--terminal", action="store_true", help="give the command a terminal")
    run.add_argument("--detach", action="store_true", help="leave it running, and print the name that it runs under")
    run.add_argument("--name", metavar="NAME", help="the name, with --detach")


def check(options: Options) -> None:
    """End the program with a line if some options exclude each other."""
    if options.name is not None and not options.detach:
        options.parser.error("--name is for --detach")
    if options.progress and options.share:
        options.parser.error("a shared session shows no progress: --progress and --share exclude each other")
    if options.terminal and options.no_stdin:
        options.parser.error("a terminal is for input: -t and -n exclude each other")
    if options.terminal and options.detach:
        options.parser.error("a command that runs detached has no terminal: -t and --detach exclude each other")

    if options.resume is None:
        options.resume = RESUME if options.terminal and not options.share else 0.0
    if options.resume and options.share:
        options.parser.error("a shared session is not resumed: --resume and --share exclude each other")
    if options.local and options.share:
        options.parser.error("a shared session is not one by the daemon: --local and --share exclude each other")
    if means_many(options.address):
        for name in ("terminal", "share", "progress", "resume", "local"):
            if getattr(options, name):
                options.parser.error(f"--{name} is for one server, and {options.address} may mean several")


def _at_once(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= AT_ONCE_MOST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 to {AT_ONCE_MOST}")
    return int(text)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _limit(text: str) -> tuple[str, int]:
    from ..limits import read_limit

    name, _, most = text.partition("=")
    try:
        return name, read_limit(name, most)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
