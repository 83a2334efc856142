"""The file of a policy: how it is read, and read again when it changes."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread

import chanlink

from ..limits import checked, read_limit
from ..logs import logger
from ..settings_file import read_settings
from .names import ALL_OF, EVERYBODY, OF_ISSUER, identities, looks_like_key
from .patterns import REST, REST_WITH_OPTIONS
from .policy import Policy, Rule

COUNT_MAX = 1_000_000
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
LOOK_EVERY = 0.5
"""Seconds between two looks at the file."""


class PolicyError(Exception):
    """A policy that can't be used: ``FILE: PLACE: what is wrong``."""


def load(path: str) -> Policy:
    """Read a file. Raises `PolicyError`."""
    try:
        return parse_policy(path, _read(path))
    except _Wrong as exc:
        raise PolicyError(f"{path}: {exc}") from None


def parse_policy(path: str, text: str) -> Policy:
    """The text of a file. Raises `PolicyError`."""
    try:
        return Policy(_read_rules(_parse(text)))
    except _Wrong as exc:
        raise PolicyError(f"{path}: {exc}") from None


class PolicyFile:
    """A policy that is read again when its file changes. One that can't be read leaves the last good one in force.

    ``trust`` is the path of the trust file: a key that the policy names and that file does not hold is worth a warning.
    (The listener watches the trust file in the same way, but not by a public name, so it stands here as well.)
    """

    def __init__(self, path: str, trust: str | None = None) -> None:
        """Read it. Raises `PolicyError`."""
        self.path = path
        self._trust = trust
        self._seen = self._state()
        self._read: object = None  # so that the second look reads it: it may change while we read it now
        self.policy = load(path)

    async def watch(self) -> None:
        """Look at the file again and again; runs until cancelled."""
        thread = anyio.CapacityLimiter(1)  # its own: keeping the default ones busy must not keep a rule in force
        while True:
            await anyio.sleep(LOOK_EVERY)
            await anyio.to_thread.run_sync(self.look, abandon_on_cancel=True, limiter=thread)

    def look(self) -> None:
        """Read the file if it has changed, but not since the last look: its writer may not be done yet."""
        before, self._seen = self._seen, self._state()
        if self._seen != before or self._seen == self._read:
            return
        self._read = self._seen
        before_policy = self.policy
        try:
            self.policy = load(self.path)
        except PolicyError as exc:
            logger.error("%s; what this file said before stays in force", exc)
            return
        if self.policy.rules != before_policy.rules:
            logger.info("%s was read again: it has %d rules now", self.path, len(self.policy.rules))
            self.warn()

    def warn(self) -> None:
        """Log names in rules that the trust file does not know: by a slip, their owners may have the rule of "*"."""
        if self._trust is None:
            return
        try:
            trust = chanlink.Trust.load(self._trust)
        except chanlink.TrustFormatError:
            return  # the listener says so
        known = {EVERYBODY}.union(*(identities(key, grant.name) for key, grant in trust.grants.items()))
        for issuer in trust.issuers.all:
            known.add(ALL_OF + issuer.label)
            known.update(f"{principal}@{issuer.label}" for principal in issuer.principals)
        for rule in self.policy.rules:
            for key in rule.keys:
                if key not in known:
                    logger.warning("%s: rules.%s names %r, which is not in %s", self.path, rule.name, key, self._trust)

    def _state(self) -> object:
        """Something that is different after each change, also if there is no such file."""
        try:
            status = os.stat(os.path.expanduser(self.path))
        except (OSError, ValueError) as exc:
            return str(exc)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _Wrong(Exception):
    """What is wrong with a file, and where in it."""


def _read(path: str) -> str:
    try:
        return read_settings(path)
    except OSError as exc:
        raise _Wrong(exc.strerror or str(exc)) from None
    except ValueError as exc:
        raise _Wrong(str(exc)) from None


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as exc:  # no TOML, or a number of thousands of digits
        raise _Wrong(str(exc)) from None
    except RecursionError:
        raise _Wrong("it is nested too deeply") from None


def _read_rules(table: Mapping[str, Any]) -> list[Rule]:
    for name in table:
        if name != "rules":
            raise _Wrong(f"{_quoted(name)}: there is no such entry; rules are tables [rules.NAME]")
    rules = _typed(table.get("rules", {}), dict, "rules", "tables")
    found = [_read_rule(name, entries) for name, entries in rules.items()]
    named: dict[str, str] = {}
    for rule in found:
        for key in rule.keys:
            if key in named:  # which of the two rules holds?
                raise _Wrong(f"rules.{rule.name}.keys: {_quoted(key)} stands in rules.{named[key]} too")
            named[key] = rule.name
    return found


def _read_rule(name: str, entries: object) -> Rule:
    place = f"rules.{name}"
    if not re.fullmatch(r"[\w-]{1,100}", name):
        raise _Wrong(f"rules: {_quoted(name)} is not the name of a rule: write letters, digits, - and _")
    values: dict[str, Any] = {}
    for key, value in _typed(entries, dict, place, "a table").items():
        reader = _READERS.get(key)
        if reader is None:
            raise _Wrong(f"{place}: there is no entry {_quoted(key)}; there are {', '.join(_READERS)}")
        values[key] = reader(value, f"{place}.{key}")
    if not values.get("keys"):
        raise _Wrong(f"{place}: it names no keys")
    if "command" in values and "commands" in values:
        raise _Wrong(f"{place}: command and commands exclude each other")
    return Rule(name, **values)


def _typed(value: object, kind: type[Any], place: str, words: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Wrong(f"{place}: it has to be {words}")
    return value


def _text(value: object, place: str) -> str:
    text: str = _typed(value, str, place, "a string")
    if not text or "\0" in text:
        raise _Wrong(f"{place}: it is empty" if not text else f"{place}: it holds a zero byte")
    return text


def _list_of(read: Callable[[object, str], Any], what: str) -> Callable[[object, str], tuple[Any, ...]]:
    def read_list(value: object, place: str) -> tuple[Any, ...]:
        entries = _typed(value, list, place, f"a list of {what}")
        return tuple(read(entry, f"{place}[{number}]") for number, entry in enumerate(entries))

    return read_list


def _words(value: object, place: str) -> tuple[str, ...]:
    words = tuple(
        _typed(word, str, f"{place}[{number}]", "a string")
        for number, word in enumerate(_typed(value, list, place, "a list of words, the first of them the program"))
    )
    if not words or not words[0]:
        raise _Wrong(f"{place}: it names no program")
    if any("\0" in word for word in words):
        raise _Wrong(f"{place}: it holds a zero byte")
    return words


def _pattern(value: object, place: str) -> tuple[str, ...]:
    words = _words(value, place)
    for rest in (REST, REST_WITH_OPTIONS):
        if words[0] == rest:
            raise _Wrong(f"{place}: it names no program")
        if rest in words[:-1]:
            raise _Wrong(f'{place}: "{rest}" can only be the last word')
    return words


def _key(value: object, place: str) -> str:
    """A misspelt key must not be taken for a name that nobody has: its owner would get the rule of "*"."""
    text = _text(value, place)
    if text == EVERYBODY or FINGERPRINT.fullmatch(text) or OF_ISSUER.fullmatch(text):
        return text
    if text.startswith(("SHA256:", "MD5:")):
        raise _Wrong(f"{place}: {_quoted(text)} is no fingerprint: that is SHA256: and 43 letters, digits, + and /")
    if looks_like_key(text):
        try:
            return " ".join(str(chanlink.PublicKey.parse(text)).split()[:2])
        except chanlink.KeyFormatError as exc:
            raise _Wrong(f"{place}: {exc}") from None
    if "*" in text or text != text.strip():
        raise _Wrong(f"{place}: {_quoted(text)} is no name: it holds a star, or blanks around it")
    return text


def _folder(value: object, place: str) -> str:
    text = _text(value, place)
    if not text.startswith("/"):
        raise _Wrong(f"{place}: it has to begin with /")
    return text


def _flag(value: object, place: str) -> bool:
    flag: bool = _typed(value, bool, place, "true or false")
    return flag


def _count(value: object, place: str) -> int:
    count: int = _typed(value, int, place, "a number")
    if not 1 <= count <= COUNT_MAX:
        raise _Wrong(f"{place}: it has to be at least 1 and at most {COUNT_MAX}")
    return count


def _variables(value: object, place: str) -> dict[str, str]:
    variables = _typed(value, dict, place, "a table")
    for name, text in variables.items():
        if not name or "=" in name or "\0" in name or "\0" in _typed(text, str, f"{place}.{name}", "a string"):
            raise _Wrong(f"{place}: {_quoted(name)} can't be a variable")
    return dict(variables)


def _limits(value: object, place: str) -> dict[str, int]:
    limits = {}
    for name, most in _typed(value, dict, place, "a table").items():
        where = f"{place}.{name}"
        try:
            if isinstance(most, str):
                limits[name] = read_limit(name, most)
            else:
                limits[name] = checked(name, _typed(most, int, where, "a number, or a text with its unit"))
        except ValueError as exc:
            raise _Wrong(f"{where}: {exc}") from None
    return limits


def _quoted(text: str) -> str:
    """A word of the file, for an error: in one line, and not a long one."""
    return json.dumps(text[:40])


_READERS: dict[str, Callable[[object, str], Any]] = {
    "keys": _list_of(_key, "keys"),
    "commands": _list_of(_pattern, "lists of words"),
    "command": _words,
    "environment": _list_of(_text, "patterns"),
    "variables": _variables,
    "directory": _folder,
    "directories": _list_of(_folder, "patterns"),
    "users": _list_of(_text, "names"),
    "pty": _flag,
    "detach": _flag,
    "copy": _flag,
    "at_once": _count,
    "limits": _limits,
}
