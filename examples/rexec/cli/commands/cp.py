"""``rexec cp``: copy files and folders."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arguments import Options, add_command
from ..broken import explain_client
from ..connecting import add_connection, connected

if TYPE_CHECKING:
    from ...copy.client import Progress
    from ..progress import Show

INCOMPLETE = 1
"""The exit status when something could not be copied, and everything else was."""

NOTES = """\
A path on a server is written SERVER:PATH, where SERVER is tcp://HOST:PORT, unix:/PATH, or a name in
~/.config/chanlink/hosts.toml. It begins in the folder that the server runs in, as commands do. A path here that has a
colon, or begins with -, is written ./PATH. If DST is a folder, the copies are put into it; else it is what the only
copy will be called. Of what ends with . or .., and of / and ~, the content is copied.

Modes and times are kept; where a disk does not keep them, that is said. Each file is written beside its place and takes
it when its BLAKE2b hash has proved right, also that of a link, which is not written through; what was interrupted is
gone on with by the same command, after comparing the hash of what is there. Symbolic links are copied as links, but for
those that lead out of the folder that is copied: they are left out, and so is what is neither a file nor a folder. The
exit status is 0 if everything was copied, 1 if something could not be, and 255 for other errors.

examples:
  rexec cp report.pdf tcp://build:9323:/tmp/
  rexec cp -r web1:logs .
  rexec cp -r dist web1:/srv/www/new
  rexec cp web1:dump.sql.gz web2:/backup/         the bytes take the way through this machine
"""

NOT_LOCAL = (
    "--local is for commands: a session by the daemon is for one service, and copies are another one; pipe"
    " tar through rexec run"
)

REMOTE = re.compile(
    r"(?P<server> tcp://(?:\[[^\]]*\]|[^:/\[\]]+)(?::\d+)? | unix:[^:]+ | [A-Za-z0-9_][A-Za-z0-9_.-]* ) : (?P<path>.*)",
    re.VERBOSE | re.DOTALL,
)


class Side(NamedTuple):
    """A path, and the server that it is on; None is here."""

    server: str | None
    path: str


def add(commands: Any) -> None:
    cp = add_command(
        commands,
        "cp",
        action,
        explain,
        help="copy files and folders",
        description="Copy files and folders to a server, from one, or from one to another.",
        epilog=NOTES,
        usage="rexec cp [OPTION]... SRC... DST",
    )
    cp.add_argument("sources", metavar="SRC", nargs="+", type=_side, help="PATH or SERVER:PATH; all on one side")
    cp.add_argument("target", metavar="DST", type=_side, help="PATH or SERVER:PATH")
    cp.add_argument("-r", "--recursive", action="store_true", help="copy folders, with everything in them")
    cp.add_argument("-q", "--quiet", action="store_true", help="show no progress on a terminal")
    add_connection(cp)
    cp.add_argument("--local", action="store_true", help=argparse.SUPPRESS)  # which other commands have


def _side(text: str) -> Side:
    remote = REMOTE.fullmatch(text)
    if remote is None:
        if text.startswith(("tcp://", "unix:")):
            raise argparse.ArgumentTypeError(f"{text!r} names a server and no path; write {text}:PATH")
        return Side(None, text)
    if remote["server"].startswith("tcp://") and remote["path"].isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} names a server and no path; write {text}:PATH")
    return Side(remote["server"], remote["path"])


def action(options: Options) -> int:
    import chanlink

    from ..loop import run_loop

    if options.local:
        raise chanlink.ConfigError(NOT_LOCAL)
    servers = {source.server for source in options.sources}
    if len(servers) > 1:
        raise chanlink.ConfigError("the sources are on several machines; copy them one after another")
    if servers == {None} and options.target.server is None:
        raise chanlink.ConfigError("neither side names a server; write SERVER:PATH, or use cp")
    return run_loop(_copy, options)


async def _copy(options: Options) -> int:
    from ...copy.client import copy
    from ..explaining import complain

    async with AsyncExitStack() as stack:
        sessions = [
            None if server is None else await stack.enter_async_context(connected(options, server))
            for server in (options.sources[0].server, options.target.server)
        ]
        with _watching(options) as watch:
            copied = await copy(
                [source.path for source in options.sources],
                options.target.path,
                source=sessions[0],
                destination=sessions[1],
                recursive=options.recursive,
                watch=watch,
                labels=(_label(options.sources[0]), _label(options.target)),
            )
    for line in [*copied.notes, *copied.problems]:
        complain(line)
    return INCOMPLETE if copied.problems else 0


def _label(side: Side) -> str:
    """Whose words they are."""
    return "" if side.server is None else f"{side.server}: "


@contextmanager
def _watching(options: Options) -> "Iterator[Callable[[Progress], None] | None]":
    if options.quiet:
        yield None
        return
    from ..progress import progress_bar

    with progress_bar() as show:
        yield None if show is None else lambda progress: _show(show, progress)


def _show(show: "Show", progress: "Progress") -> None:
    """What was there already is not counted: the rate and the time left are those of what moves."""
    total = None if progress.total_bytes is None else progress.total_bytes - progress.spared
    show(progress.bytes - progress.spared, total, progress.name)


def explain(error: Exception, options: Options) -> str | None:
    from ...copy.messages import CopyError

    return str(error) if isinstance(error, CopyError) else explain_client(error, options)
