"""Trust: which keys may connect, and which services each may use.

The file is in ``authorized_keys`` syntax (sshd(8)), one key a line:

    # our laptops
    ssh-ed25519 AAAA... alice@laptop
    services="rexec,ping" ssh-ed25519 AAAA... bob@laptop

Whoever writes such a line wants to allow something *and no more*. So a line that is not understood to its last
character is an error and never a grant: unknown options (``from=``, ``expiry-time=``, a misspelt ``service=``), other
types of keys, the same key twice.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from typing import Self

import anyio

from chanlink.errors import KeyFormatError, TrustFormatError
from chanlink.printing import printable_logger

from .files import expand, read_kept
from .openssh import PublicKey
from .syntax import FILE_MAX, OTHER_TYPES, clean_line, decode_lines

logger = printable_logger(__name__)

_OPTION = re.compile(r'(?P<name>[A-Za-z0-9-]+)(?:="(?P<value>(?:\\"|[^"\\]|\\(?!"))*)")?(?P<after>[, ])')
"""Inside the quotes a backslash stands for itself, unless a quote follows (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""
_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk)-\S+ ")
"""No option of sshd's begins like this."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What a trusted key may do. ``name`` is for people: the key's comment in the trust file, or its fingerprint."""

    name: str
    services: frozenset[str] | None
    """The services that the key may use; ``None`` means all of them."""

    def allows(self, service: str) -> bool:
        """Tell whether the key may use ``service``."""
        return self.services is None or service in self.services


class Trust:
    """Who may connect. Make one with `of`, `load`, `anyone` or `nobody`; it does not change afterwards."""

    __slots__ = ("_for_anyone", "grants", "path")

    def __init__(
        self,
        grants: dict[PublicKey, Grant],
        for_anyone: frozenset[str] = frozenset(),
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.grants = grants
        self.path = path
        """The file that it was read from."""
        self._for_anyone = for_anyone

    @classmethod
    def of(cls, *keys: PublicKey) -> Self:
        """Trust these keys, for all services."""
        return cls({key: _grant(key, None) for key in keys})

    @classmethod
    def anyone(cls, services: Iterable[str]) -> Self:
        """Trust whoever connects, for these services only. Raises `TrustFormatError` when there are none."""
        if isinstance(services, str):  # else each of its letters would be a service
            raise TrustFormatError(f"services are a collection of names, not one string: [{services!r}]")
        return cls({}, _check_services(services))

    @classmethod
    def nobody(cls) -> Self:
        """Trust no key at all."""
        return cls({})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a trust file (synchronously; ``~`` is expanded).

        A listener reads it again when it has changed (`Limits.trust_interval`), and ends with code ``revoked`` what
        it does not allow any more. One that can't be read then leaves things as they are: to trust nobody, empty it.

        Raises `TrustFormatError`, ``FILE:LINE: what is wrong``, for the first line that is not understood, and
        ``FILE: why`` for a file that can't be read, is larger than 1 MiB, or that everybody may write.
        """
        grants: dict[PublicKey, Grant] = {}
        for number, line in enumerate(_read_lines(path), start=1):
            try:
                _add_line(grants, line)
            except (KeyFormatError, TrustFormatError) as exc:
                raise TrustFormatError(f"{path}:{number}: {exc}") from exc
        return cls(grants, path=path)

    def check(self, key: PublicKey) -> Grant | None:
        """Return what ``key`` may do, or ``None`` when it is not trusted.

        The name in it is ours: a comment that came with ``key`` does not count.
        """
        grant = self.grants.get(key)
        if grant is None and self._for_anyone:
            return Grant(key.fingerprint, self._for_anyone)
        return grant


def _grant(key: PublicKey, services: frozenset[str] | None) -> Grant:
    return Grant(key.comment or key.fingerprint, services)


def _check_services(names: Iterable[str]) -> frozenset[str]:
    services = frozenset(names)
    if not services:
        raise TrustFormatError("no services are named")
    for name in services:
        if not name or name != "".join(name.split()):
            raise TrustFormatError(f"{name[:40]!r} is not the name of a service")
    return services


# --- the file -----------------------------------------------------------------------------------


def _read_lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        return decode_lines(path, read_kept(path, FILE_MAX))
    except KeyFormatError as exc:
        raise TrustFormatError(str(exc)) from exc


def _add_line(grants: dict[PublicKey, Grant], line: str) -> None:
    parsed = parse_line(clean_line(line))
    if parsed is None:
        return
    services, key = parsed
    if key in grants:  # which of the two lines holds?
        raise TrustFormatError(f"the key {key.fingerprint} stands on an earlier line too")
    grants[key] = _grant(key, services)


def parse_line(text: str) -> tuple[frozenset[str] | None, PublicKey] | None:
    """The services (None: all of them) and the key of what `clean_line` left. Raises `ConfigError`."""
    if not text:
        return None
    services, key_text = _split_options(text)
    key_type = key_text.lstrip(" ").partition(" ")[0]
    if key_type in OTHER_TYPES:  # not passed over: whoever it lets in today would be locked out without a word
        raise TrustFormatError(
            f"a key of type {key_type!r}, and only ssh-ed25519 is used; make a trust file of its own: "
            "grep '^ssh-ed25519 ' ~/.ssh/authorized_keys"
        )
    return services, PublicKey.parse(key_text)


def _split_options(text: str) -> tuple[frozenset[str] | None, str]:
    """The services that a line's options allow, and the public key that follows them."""
    services = None
    at, more = 0, _KEY_TYPE.match(text) is None
    while more:
        option = _OPTION.match(text, at)
        if option is None:
            raise TrustFormatError("not of the form 'services=\"NAME,NAME\" ssh-ed25519 AAAA... comment'")
        if option["name"] != "services" or option["value"] is None:
            raise TrustFormatError(f"the option {option['name'][:40]!r} is not known in this form")
        if services is not None:
            raise TrustFormatError("the option 'services' stands twice")
        services = _check_services(option["value"].replace('\\"', '"').split(","))
        at, more = option.end(), option["after"] == ","
    return services, text[at:]


# --- when the file changes ----------------------------------------------------------------------


class TrustWatch:
    """Reads the file of a `Trust` again when it has changed; call `look` at regular times."""

    def __init__(self, trust: Trust) -> None:
        assert trust.path is not None
        self._path = trust.path
        self._grants = trust.grants
        self._seen: object = None
        # Nothing, so that the second look reads it: it may have changed since it was loaded, in the same instant even.
        self._read: object = None

    def look(self) -> Trust | None:
        """The trust that is in force from now on, if it has changed.

        A file is read once it has been the same at two looks: whoever writes it may not be done yet. Raises
        `TrustFormatError`, once for each state that can't be read; the old trust stays in force then.
        """
        before, self._seen = self._seen, self._state()
        if self._seen != before or self._seen == self._read:
            return None
        self._read = self._seen
        trust = Trust.load(self._path)
        if trust.grants == self._grants:
            return None
        self._grants = trust.grants
        return trust

    def _state(self) -> object:
        """Something that differs after each change, also when there is no such file."""
        try:
            status = os.stat(expand(self._path))
        except (OSError, ValueError) as exc:
            return str(exc)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


async def watch(trust: Trust, interval: float, changed: Callable[[Trust], None]) -> None:
    """Call ``changed`` with what the trust's file says now, whenever that has changed. Runs until cancelled."""
    if trust.path is None:
        return
    file, thread = TrustWatch(trust), anyio.CapacityLimiter(1)  # its own: others' must not keep a key in force
    while True:
        await anyio.sleep(interval)
        try:
            trust_now = await anyio.to_thread.run_sync(file.look, abandon_on_cancel=True, limiter=thread)
        except TrustFormatError as exc:
            logger.error("%s; what this file said before stays in force", exc)
        else:
            if trust_now is not None:
                logger.info("%s was read again: it has %d keys now", trust.path, len(trust_now.grants))
                changed(trust_now)
