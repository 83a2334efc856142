"""Which servers are meant: ``web*,db1`` in the place of an address. It imports next to nothing.

A pattern that matches nothing, a name that is not known, and one whose settings are wrong, are errors, and then nothing
is run anywhere: a command that was run on no machine, or on all but one, would look like one that has done its work.
"""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .completing import HOSTS

if TYPE_CHECKING:
    import chanlink

NAME = "chanlink://"
"""Before a name, or a pattern, that a directory knows."""
ANSWER = 10.0
"""Seconds in which a directory has to say which names it has."""
_ADDRESS = re.compile(rf"(?!{NAME})[a-z]+://|unix:")
_MANY = re.compile(r"[,*?[]")
_PATTERN = re.compile(r"[*?[]")
SHOWN = 200
"""Characters of a list of names in an error."""


def means_many(text: str) -> bool:
    """Whether this is a list of names, or a pattern; not the name or the address of one server."""
    return not _ADDRESS.match(text) and bool(_MANY.search(text))


async def hosts_meant(text: str, us: "chanlink.Identity | None" = None) -> "list[chanlink.Host]":
    """The servers of a list: names, patterns and addresses, with commas between. Each is there once.

    Patterns that begin with `NAME` are looked up in the directory of ``$CHANLINK_DIRECTORY``, which we ask as ``us``.

    They come in the order of the list, those of a pattern in that of their names. Raises `chanlink.ConfigError`, also
    for a part that means no server.
    """
    import chanlink

    known = chanlink.Host.load_each()
    meant: dict[str, chanlink.Host] = {}
    for part in text.split(","):
        if not part:
            raise chanlink.ConfigError(f"{text!r}: a name is missing at a comma")
        if not means_many(part):
            names = [part]
        elif part.startswith(NAME):
            names = await names_registered(part, us)
        else:
            names = names_matching(part, known)
        for name in names:
            host = known.get(name) or chanlink.Host.find(name)
            if isinstance(host, chanlink.ConfigError):
                raise host
            meant.setdefault(name, host)
    return list(meant.values())


async def names_registered(pattern: str, us: "chanlink.Identity | None") -> list[str]:
    """The addresses of names in the directory that a pattern matches. Raises as `names_matching`."""
    import anyio

    import chanlink
    from chanlink.directory import open_directory

    wanted = pattern.removeprefix(NAME)
    try:
        with anyio.fail_after(ANSWER):
            async with open_directory(identity=us) as directory:
                entries = await directory.entries(_PATTERN.split(wanted)[0])
    except TimeoutError as exc:
        raise chanlink.ConfigError(f"{pattern!r}: no answer from the directory within {ANSWER:g} s") from exc
    except (chanlink.SessionError, chanlink.CallError) as exc:
        raise chanlink.ConfigError(f"{pattern!r}: the directory can't be asked: {exc}") from exc
    names = names_matching(wanted, {entry.name for entry in entries}, "the directory")
    return [f"{NAME}{name}" for name in names]


def names_matching(pattern: str, known: Collection[str], where: str = HOSTS) -> list[str]:
    """Those of the known names that a pattern matches. Raises `chanlink.ConfigError` if there is none."""
    names = sorted((name for name in known if fnmatchcase(name, pattern)), key=_by_number)
    if not names:
        import chanlink

        has = f"; it has {', '.join(sorted(known, key=_by_number))}"[:SHOWN] if known else ""
        raise chanlink.ConfigError(f"{pattern!r} matches no name in {where}{has}")
    return names


def _by_number(name: str) -> list[tuple[str, int]]:
    """The order in which people expect names: web2 before web10."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d{,18})", name)]
