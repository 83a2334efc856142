"""``daemon.toml``: which services there are, and who may reach them.

    directory = "tcp://dir:9323 ssh-ed25519 AAAA..."    # whom to ask where hosts are that hosts.toml does not know
    groups = true                                       # false: the sockets are for the daemon's own user alone

    [services.ping]
    incoming = true                                     # clients of the network may come, for whoever advertises it
    trust = "/etc/chanlink/ping"                        # those that may; without it, the file "trust" of the folder

What is not understood is an error that says where.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from chanlink.errors import ConfigError
from chanlink.naming.setting import parse_setting
from chanlink.security.keys.files import edit, file_problem, read_kept
from chanlink.security.keys.syntax import FILE_MAX

SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,24}")
"""With "import-" before it, a group's name has 32 characters at most."""
MOST_SERVICES = 1_000
"""Each has two sockets."""


class Service(NamedTuple):
    """A service that local applications use, and may offer."""

    name: str
    incoming: bool = False
    """Whether clients of the network may come."""
    trust: Path | None = None
    """The file that says who may; None: that of the folder."""


class Settings(NamedTuple):
    """What the file says."""

    services: dict[str, Service]
    directory: str = ""
    groups: bool = True
    """Whether the sockets are for the groups of the services, or for the daemon's own user alone."""


def checked_service(name: str) -> str:
    """Raise `ConfigError` unless this can be the name of a service."""
    if not SERVICE.fullmatch(name):
        raise ConfigError(f"{name[:40]!r} can't be the name of a service: 1 to 25 of a-z, 0-9, _ and -")
    return name


def fresh(groups: bool) -> str:
    """The text of settings without services."""
    return f"groups = {'true' if groups else 'false'}\n"


def load(file: Path) -> Settings:
    """Read it (synchronously). Raises `ConfigError`, which begins with the file's name."""
    try:
        return parse(read_kept(file, FILE_MAX).decode(), file.parent)
    except RecursionError as exc:
        raise ConfigError(f"{file}: nested too deep") from exc
    except ValueError as exc:
        raise _of_file(file, exc) from exc


def parse(text: str, folder: Path) -> Settings:
    """The settings of such a text; paths are below this folder. Raises `ConfigError`, or `ValueError`."""
    import tomllib  # most programs read no such file

    tables = tomllib.loads(text)
    _only(tables, {"services": dict, "directory": str, "groups": bool}, "")
    services = tables.get("services", {})
    if len(services) > MOST_SERVICES:
        raise ConfigError(f"at most {MOST_SERVICES} services")
    if directory := tables.get("directory", ""):
        parse_setting(directory, "directory")
    found = {name: _service(checked_service(name), table, folder) for name, table in services.items()}
    return Settings(found, directory, tables.get("groups", True))


def _service(name: str, table: Any, folder: Path) -> Service:
    if not isinstance(table, dict):
        raise ConfigError(f"services.{name} must be a table")
    _only(table, {"incoming": bool, "trust": str}, f"services.{name}.")
    trust = table.get("trust")
    if trust == "":
        raise ConfigError(f"services.{name}.trust is empty")
    return Service(name, table.get("incoming", False), None if trust is None else folder / trust)


def _only(table: dict[str, Any], known: dict[str, type], where: str) -> None:
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{where}{name} is not known; there are {', '.join(known)}")
        if type(value) is not known[name]:
            raise ConfigError(f"{where}{name} must be a {known[name].__name__}")


def remove_service(file: Path, name: str) -> None:
    """Take the table of a service out; the rest stays as it is. Raises `ConfigError`, also if it has none."""
    try:
        with edit(file) as held:
            text = held.read(FILE_MAX).decode()
            before = parse(text, file.parent)
            if name not in before.services:
                raise ConfigError(f"{file}: there is no service {name[:40]!r}; there are: {', '.join(before.services)}")
            after = _without(text, name)
            services = {one: service for one, service in before.services.items() if one != name}
            if parse(after, file.parent) != before._replace(services=services):
                raise ConfigError(f"{file}: {name} is written in a way of its own; take it out by hand")
            held.replace(after.encode())
    except (OSError, ValueError) as exc:
        raise _of_file(file, exc) from exc


def _without(text: str, name: str) -> str:
    """The text without the lines from ``[services.NAME]`` to the next table; comments above that stay."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"[ \t]*\[[ \t]*services[ \t]*\.[ \t]*{re.escape(name)}[ \t]*\]")
    begin = next((at for at, line in enumerate(lines) if header.match(line)), len(lines))
    end = next((at for at in range(begin + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    while end < len(lines) and not lines[end - 1].split("#")[0].strip():
        end -= 1
    return "".join(lines[:begin] + lines[end:])


def _of_file(file: Path, exc: OSError | ValueError) -> ConfigError:
    if isinstance(exc, OSError):
        return ConfigError(file_problem(file, exc))
    return ConfigError(str(exc) if str(exc).startswith(str(file)) else f"{file}: {exc}")


def add_service(file: Path, service: Service) -> None:
    """Write one more service behind what is there. Raises `ConfigError`, also if there is one of this name."""
    lines = [f"\n[services.{checked_service(service.name)}]"]
    if service.incoming:
        lines.append("incoming = true")
    if service.trust is not None:
        lines.append(f"trust = {json.dumps(os.fspath(service.trust), ensure_ascii=False)}")
    try:
        with edit(file) as held:
            before = held.read(FILE_MAX).decode()
            if service.name in parse(before, file.parent).services:
                raise ConfigError(f"{file}: there is a service {service.name} already")
            after = before + "\n".join(lines) + "\n"
            parse(after, file.parent)
            held.replace(after.encode())
    except (OSError, ValueError) as exc:
        raise _of_file(file, exc) from exc
