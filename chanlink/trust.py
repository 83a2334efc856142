"""Trust: which keys may connect, and which services each may use.

The file is in ``authorized_keys`` syntax (sshd(8)), one key a line:

    # our laptops
    ssh-ed25519 AAAA... alice@laptop
    services="rexec,ping" ssh-ed25519 AAAA... bob@laptop

Whoever writes such a line wants to allow something *and no more*.  So a line that is not understood to its last
character is an error and never a grant: unknown options (``from=``, ``expiry-time=``, a misspelt ``service=``), other
types of keys, the same key twice.
"""

import dataclasses
import os
import re
from collections.abc import Iterable
from typing import Self

from chanlink.errors import KeyFormatError, TrustFormatError
from chanlink.openssh import PublicKey, read_limited

TRUST_FILE_MAX = 1024 * 1024  # ten thousand keys
LINE_MAX = 8 * 1024  # a line of one mebibyte took 0.4 s to refuse

# Inside the quotes a backslash stands for itself, unless a quote follows (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
_OPTION = re.compile(r'(?P<name>[A-Za-z0-9-]+)(?:="(?P<value>(?:\\"|[^"\\]|\\(?!"))*)")?(?P<after>[, ])')
_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk)-\S+ ")  # no option of sshd's begins like this


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What a trusted key may do.  ``name`` is for people: the key's comment in the trust file, or its fingerprint."""

    name: str
    services: frozenset[str] | None
    """The services that the key may use; ``None`` means all of them."""

    def allows(self, service: str) -> bool:
        """Tell whether the key may use ``service``."""
        return self.services is None or service in self.services


class Trust:
    """Who may connect.  Make one with `of`, `load`, `anyone` or `nobody`; it does not change afterwards."""

    __slots__ = ("_for_anyone", "_grants")

    def __init__(self, grants: dict[PublicKey, Grant], for_anyone: frozenset[str] = frozenset()) -> None:
        self._grants = grants
        self._for_anyone = for_anyone

    @classmethod
    def of(cls, *keys: PublicKey) -> Self:
        """Trust these keys, for all services."""
        return cls({key: _grant(key, None) for key in keys})

    @classmethod
    def anyone(cls, services: Iterable[str]) -> Self:
        """Trust whoever connects, for these services only.  Raises `TrustFormatError` when there are none."""
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

        Raises `TrustFormatError`, ``FILE:LINE: what is wrong``, for the first line that is not understood, and
        ``FILE: why`` for a file that can't be read or is larger than 1 MiB.
        """
        grants: dict[PublicKey, Grant] = {}
        for number, line in enumerate(_read_lines(path), start=1):
            try:
                _add_line(grants, line)
            except (KeyFormatError, TrustFormatError) as exc:
                raise TrustFormatError(f"{path}:{number}: {exc}") from exc
        return cls(grants)

    def check(self, key: PublicKey) -> Grant | None:
        """Return what ``key`` may do, or ``None`` when it is not trusted.

        The name in it is ours: a comment that came with ``key`` does not count.
        """
        grant = self._grants.get(key)
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
        return read_limited(path, TRUST_FILE_MAX).decode().split("\n")
    except KeyFormatError as exc:
        raise TrustFormatError(str(exc)) from exc
    except UnicodeDecodeError as exc:
        number = exc.object[: exc.start].count(b"\n") + 1
        raise TrustFormatError(f"{path}:{number}: not UTF-8") from exc


def _add_line(grants: dict[PublicKey, Grant], line: str) -> None:
    text = line.removesuffix("\r").replace("\t", " ").strip(" ")
    if not text or text.startswith("#"):
        return
    if len(text) > LINE_MAX:
        raise TrustFormatError(f"the line is longer than {LINE_MAX} characters")
    services, key_text = _split_options(text)
    key = PublicKey.parse(key_text)
    if key in grants:  # which of the two lines holds?
        raise TrustFormatError(f"the key {key.fingerprint} stands on an earlier line too")
    grants[key] = _grant(key, services)


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
