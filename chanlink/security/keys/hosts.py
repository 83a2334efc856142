"""Names for servers: ``~/.config/chanlink/hosts.toml``.

    [web1]
    address = "tcp://web1.example:9323"
    key = "ssh-ed25519 AAAA..."             # the server's; without it, the file of known peers decides
    identity = "~/.ssh/id_ed25519"          # ours; without it, the default one
    user = "deploy"                         # whom commands run as, where the server may choose

What is not understood is an error that says where: a name that was misspelt must not lead to another server, or to one
whose key is not looked at. It is the error of one server alone where it is certain whom it is about. Nothing is
inherited, and there are no patterns.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from chanlink.arguments import expect
from chanlink.errors import AddressError, ConfigError, KeyFormatError
from chanlink.transport.target import parse_target

from .files import expand, read_kept
from .openssh import PublicKey
from .syntax import FILE_MAX, decode_lines

T = TypeVar("T")

DEFAULT_PATH = "~/.config/chanlink/hosts.toml"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ADDRESS = re.compile(r"(?:tcp|tls|wss?|ssh|chanlink)://.+|(?:unix|via):.+", re.DOTALL)
_HEADER = re.compile(r"\s*\[\s*[\"']?(?P<name>[^\"'\]]*?)[\"']?\s*\]\s*(?:#.*)?")
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
"""What tomllib ends its errors with."""


@dataclass(frozen=True, slots=True)
class Host:
    """A server that has a name here, and what to use with it. `find` and `load_all` read them from the user's file."""

    name: str
    """By which the file knows it; of an address that is none of the file's, the address."""
    address: str
    """As `connect` takes it."""
    key: PublicKey | None = None
    """That the server has; None: the file of known peers says it."""
    identity: str | None = None
    """The file of our private key; None: `Identity.default`."""
    user: str | None = None
    """Whom commands run as, for a service that runs some."""

    @classmethod
    def find(cls, name: str, path: str | os.PathLike[str] = DEFAULT_PATH) -> "Host":
        """The server with this name in the file, or, without looking into the file, the one with this address.

        Raises `AddressError` for what is neither, and `ConfigError` as `load_each`, or for what is wrong with this one.
        """
        expect("name", name, str)
        if _ADDRESS.fullmatch(name):
            return cls(name, name)
        hosts = cls.load_each(path)
        if name not in hosts:
            hint = f"; it has {', '.join(sorted(hosts))}"[:200] if hosts else ""
            what_is = "write tcp://host:port, unix:/path or chanlink://name"
            raise AddressError(f"{name!r} is no address, and no name in {path}{hint}; {what_is}")
        return _good(hosts[name])

    @classmethod
    def load_all(cls, path: str | os.PathLike[str] = DEFAULT_PATH) -> dict[str, "Host"]:
        """All servers in the file, by their names (synchronously; ``~`` is expanded). A file that is missing has none.

        Raises `ConfigError`, ``FILE:LINE: what is wrong``, if there is anything in it that is not understood, and
        ``FILE: why`` for a file that can't be read, is larger than 1 MiB, or that everybody may write.
        """
        return {name: _good(host) for name, host in cls.load_each(path).items()}

    @classmethod
    def load_each(cls, path: str | os.PathLike[str] = DEFAULT_PATH) -> dict[str, "Host | ConfigError"]:
        """As `load_all`, for who needs some of them: one whose settings are wrong is there as the error that says so.

        Raises `ConfigError` if it is not known which server is meant by what is wrong, and for the file as a whole.
        """
        try:
            data = read_kept(path, FILE_MAX)
        except KeyFormatError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                return {}
            raise
        return parse_hosts(str(expand(path)), "\n".join(decode_lines(path, data)))


def _good(host: Host | ConfigError) -> Host:
    if isinstance(host, ConfigError):
        raise host
    return host


def parse_hosts(file: str, text: str) -> dict[str, Host | ConfigError]:
    """The text of the file. Raises `ConfigError`, as `Host.load_each`."""
    import tomllib  # most programs read no such file

    try:
        tables = tomllib.loads(text)
    except RecursionError as exc:
        raise ConfigError(f"{file}: nested too deep") from exc
    except ValueError as exc:  # not TOML
        at = _AT_LINE.search(str(exc))
        raise ConfigError(f"{file}:{at[1]}: {_AT_LINE.sub('', str(exc))}" if at else f"{file}: {exc}") from exc
    readers = {name: _Reader(file, text, name) for name in tables}
    for name, reader in readers.items():
        reader.check_name(tables[name])
    return {name: reader.host_or_problem(tables[name]) for name, reader in readers.items()}


SETTINGS = [field.name for field in fields(Host)][1:]
"""What a table may say."""


class _Reader:
    """Reads one table, and says where in the file it is wrong."""

    def __init__(self, file: str, text: str, name: str) -> None:
        self._file = file
        self._text = text
        self._name = name

    def check_name(self, table: Any) -> None:
        """Raise `ConfigError` if this is no server with a name: whom it is about would be a guess."""
        if not _NAME.fullmatch(self._name):
            raise self._wrong("a name has letters, digits, and _ . - only")
        if not isinstance(table, dict):
            raise self._wrong(f"is no table; write [{self._name}] above its settings", self._name)
        if any(setting not in SETTINGS and isinstance(value, dict) for setting, value in table.items()):
            raise self._dotted(table)

    def host_or_problem(self, table: dict[str, Any]) -> Host | ConfigError:
        try:
            return self._host(table)
        except ConfigError as exc:
            return exc

    def _host(self, table: dict[str, Any]) -> Host:
        for setting, value in table.items():
            if setting not in SETTINGS:
                raise self._wrong(f"{setting!r} is not known; there are {', '.join(SETTINGS)}", setting)
            if not isinstance(value, str) or not value:
                raise self._wrong(f"{setting} must be a text", setting)
        if "address" not in table:
            raise self._wrong("address is missing; it is tcp://host:port, unix:/path or chanlink://name")
        self._read("address", table, parse_target)
        return Host(
            self._name,
            table["address"],
            self._read("key", table, PublicKey.parse),
            table.get("identity"),
            table.get("user"),
        )

    def _read(self, setting: str, table: dict[str, str], parse: Callable[[str], T]) -> T | None:
        try:
            return parse(table[setting]) if setting in table else None
        except ConfigError as exc:
            raise self._wrong(f"{setting}: {exc}", setting) from exc

    def _dotted(self, table: dict[str, Any]) -> ConfigError:
        """To TOML, [web1.example] is a table in another one."""
        while inner := [(key, value) for key, value in table.items() if isinstance(value, dict)]:
            key, table = inner[0]
            self._name += f".{key}"
        return self._wrong(f'a name with dots is quoted: ["{self._name}"]')

    def _wrong(self, what: str, setting: str = "") -> ConfigError:
        line = _line_of(self._text, self._name, setting)
        return ConfigError(f"{self._file}{f':{line}' if line else ''}: {self._name!r}: {what}")


def _line_of(text: str, name: str, setting: str) -> int:
    """The line of a setting in the table with this name, or else that of its header; 0 if it is written otherwise."""
    wanted = re.compile(rf"\s*[\"']?{re.escape(setting)}[\"']?\s*=")
    header, inside = 0, setting == name
    for number, line in enumerate(text.split("\n"), 1):
        if found := _HEADER.fullmatch(line):
            inside = found["name"] == name
            header = header or (number if inside else 0)
        elif inside and setting and wanted.match(line):
            return number
    return header
