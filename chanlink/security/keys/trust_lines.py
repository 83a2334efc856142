"""The lines of a trust file: reading them, and writing that one key takes the place of another.

The syntax is that of ``authorized_keys`` (sshd(8)): options, a key, a comment. What is not understood to its last
character is an error and never a grant. What holds between lines is checked here, too: whoever writes two that say
something of the same key, or of the same name, has to say which of them is meant.
"""

import re
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, NamedTuple

from chanlink.errors import KeyFormatError, TrustFormatError
from chanlink.transport.address import is_good_name

from .files import edit, expand, file_problem, read_kept
from .openssh import PEM_BEGINS, PublicKey
from .syntax import FILE_MAX, OTHER_TYPES, check_size, clean_line, decode_lines, in_place_of

REVOKED = "@revoked "
"""What the line of a key begins with that is refused, whatever other lines and authorities say."""
PATIENCE = 10.0
"""Seconds that is waited for another process that writes the file."""

_OPTION = re.compile(r'(?P<name>[A-Za-z0-9-]+)(?:="(?P<value>(?:\\"|[^"\\]|\\(?!"))*)")?(?P<after>[, ])')
"""Inside the quotes a backslash stands for itself, unless a quote follows (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""
_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk)-\S+ ")
"""No option of sshd's begins like this."""
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""An issuer, and a principal: no ``@``, so that it is clear where the one ends in a name, and no ``:``, as in keys."""


class Line(NamedTuple):
    """What a line says of a key."""

    services: frozenset[str] | None
    """As in `Grant`."""
    names: frozenset[str] | None
    """As in `Grant`."""
    key: PublicKey
    issuer: str = ""
    """Of a certification authority: what we call it. Empty on a key's own line."""
    principals: tuple[str, ...] = ()
    """For whom the authority may speak."""
    krl: str = ""
    """The file with what it has revoked; empty if there is none."""
    is_revoked: bool = False
    """Whether the key is refused."""
    offers: frozenset[str] = frozenset()
    """As in `Grant`."""


# --- the whole file -----------------------------------------------------------------------------


def read(path: str | PathLike[str]) -> list[Line]:
    """The lines of a file that say something. Raises `TrustFormatError`."""
    try:
        return parse(path, decode_lines(path, read_kept(path, FILE_MAX)))
    except KeyFormatError as exc:
        raise TrustFormatError(str(exc)) from exc


def parse(path: str | PathLike[str], texts: Iterable[str]) -> list[Line]:
    """What these lines say, which may be said together. Raises `TrustFormatError`."""
    lines, found = [], _Together()
    for number, text in enumerate(texts, start=1):
        try:
            line = parse_line(clean_line(text))
            if line is not None:
                found.add(line)
                lines.append(line)
        except (KeyFormatError, TrustFormatError) as exc:
            raise TrustFormatError(f"{path}:{number}: {exc}") from exc
    return lines


class _Together:
    """What has been read, and may not be said twice."""

    def __init__(self) -> None:
        self._keys: set[PublicKey] = set()
        self._authorities: set[PublicKey] = set()
        self._issuers: set[str] = set()
        self._principals: set[tuple[PublicKey, str]] = set()
        self._name_ends: set[str] = set()
        """What follows the last ``@`` in the names of keys."""

    def add(self, line: Line) -> None:
        """Raise `TrustFormatError` if this line does not go with those before it."""
        if line.is_revoked:
            return
        if line.key in self._keys or (line.key in self._authorities and not line.issuer):  # which of the two holds?
            raise TrustFormatError(f"the key {line.key.fingerprint} stands on an earlier line too")
        if line.issuer:
            self._add_authority(line)
        else:
            self._add_key(line.key)

    def _add_key(self, key: PublicKey) -> None:
        end = _name_end(key)
        if end and end in self._issuers:
            raise TrustFormatError(f"the name {key.comment!r:.80} looks like one that an authority's line gives")
        self._keys.add(key)
        self._name_ends.add(end)

    def _add_authority(self, line: Line) -> None:
        issuer = line.issuer.casefold()
        if issuer in self._issuers:
            raise TrustFormatError(f"the issuer {line.issuer!r} stands on an earlier line too")
        if issuer in self._name_ends:
            raise TrustFormatError(f"an earlier line gives a key a name that ends in {'@' + line.issuer!r}")
        for principal in line.principals:
            if (line.key, principal) in self._principals:
                raise TrustFormatError(f"an earlier line of this authority has the principal {principal!r} too")
        self._principals.update((line.key, principal) for principal in line.principals)
        self._authorities.add(line.key)
        self._issuers.add(issuer)


def _name_end(key: PublicKey) -> str:
    """Names that differ in nothing but the case of letters are alike to people."""
    _, separator, end = key.comment.rpartition("@")
    return end.casefold() if separator else ""


# --- one line -----------------------------------------------------------------------------------


def parse_line(text: str) -> Line | None:
    """What `clean_line` left; None if that is nothing. Raises `ConfigError`."""
    if not text:
        return None
    if text.startswith(PEM_BEGINS):
        return Line(None, None, PublicKey.parse(text))  # which says what that is
    if text.startswith(REVOKED):
        return Line(None, None, _parse_key(text.removeprefix(REVOKED)), is_revoked=True)
    options, key_text = _split_options(text)
    is_authority = "cert-authority" in options
    _check_together(options, is_authority)
    offers = options.get("offers", frozenset())
    return Line(
        options.get("services", frozenset() if offers else None),
        options.get("names"),
        _parse_key(key_text),
        options.get("issuer", ""),
        options.get("principals", ()),
        options.get("revoked", ""),
        offers=offers,
    )


def _parse_key(text: str) -> PublicKey:
    key_type = text.lstrip(" ").partition(" ")[0]
    if key_type in OTHER_TYPES:  # not passed over: whoever it lets in today would be locked out without a word
        raise TrustFormatError(
            f"a key of type {key_type!r}, and only ssh-ed25519 is used; make a trust file of its own: "
            "grep '^ssh-ed25519 ' ~/.ssh/authorized_keys"
        )
    return PublicKey.parse(text)


def _split_options(text: str) -> tuple[dict[str, Any], str]:
    """What a line's options say, and the public key that follows them."""
    options: dict[str, Any] = {}
    at, more = 0, _KEY_TYPE.match(text) is None
    while more:
        option = _OPTION.match(text, at)
        if option is None:
            raise TrustFormatError("not of the form 'services=\"NAME,NAME\" ssh-ed25519 AAAA... comment'")
        name, value = option["name"], option["value"]
        if name not in _OPTIONS or (value is None) != (name == "cert-authority"):
            raise TrustFormatError(f"the option {name[:40]!r} is not known in this form")
        if name in options:
            raise TrustFormatError(f"the option {name!r} stands twice")
        options[name] = _OPTIONS[name]((value or "").replace('\\"', '"'))
        at, more = option.end(), option["after"] == ","
    return options, text[at:]


def _check_together(options: dict[str, Any], is_authority: bool) -> None:
    if not is_authority:
        for name in ("issuer", "principals", "revoked"):
            if name in options:
                raise TrustFormatError(f"the option {name!r} is for lines with cert-authority")
        return
    for name in ("issuer", "principals"):
        if name not in options:
            raise TrustFormatError(f'cert-authority needs {name}="...": else it would speak for anybody')
    for name in ("names", "offers"):  # a name belongs to a key, and those of an authority come and go
        if name in options:
            raise TrustFormatError(f"the option {name!r} is for a key's own line")


def check_services(names: Iterable[str]) -> frozenset[str]:
    """Raises `TrustFormatError` for what no services can be called, and for none."""
    services = frozenset(names)
    if not services:
        raise TrustFormatError("no services are named")
    for name in services:
        if not name or name != "".join(name.split()):
            raise TrustFormatError(f"{name[:40]!r} is not the name of a service")
    return services


def _parse_names(text: str) -> frozenset[str]:
    """A pattern would be a grant of names that nobody has thought of."""
    checked = frozenset(text.split(","))
    for name in checked:
        if not is_good_name(name):
            raise TrustFormatError(
                f"{name[:40]!r} is not a name in a directory, or at a gateway: letters, digits, and _ . - only"
            )
    return checked


def _parse_issuer(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise TrustFormatError(f"{text[:40]!r} is not the name of an issuer: 1 to 64 letters, digits, and _ . - only")
    return text


def _parse_principals(text: str) -> tuple[str, ...]:
    """In their order: of those that a credential has the first one counts."""
    principals = tuple(text.split(","))
    for principal in principals:
        if not _LABEL.fullmatch(principal):
            raise TrustFormatError(f"{principal[:40]!r} is not a principal: 1 to 64 letters, digits, and _ . - only")
    if len({*principals}) < len(principals):
        raise TrustFormatError("a principal stands twice")
    return principals


def _parse_path(text: str) -> str:
    """Which folder another path begins at depends on who reads the file."""
    if not text.startswith(("/", "~")):
        raise TrustFormatError(f"{text[:40]!r} is not the whole path of a file, from / or ~ on")
    return text


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "services": lambda text: check_services(text.split(",")),
    "names": _parse_names,
    "offers": _parse_names,
    "cert-authority": bool,
    "issuer": _parse_issuer,
    "principals": _parse_principals,
    "revoked": _parse_path,
}
"""The options that there are."""


# --- a key in the place of another --------------------------------------------------------------


def follow(path: str | PathLike[str], old: PublicKey, new: PublicKey) -> bool:
    """Write that ``new`` has the line of ``old``, which is revoked. False if the file does not have ``old``.

    As with known peers, nobody reads half a line, and who writes at the same time waits. Raises `TrustFormatError`.
    """
    read(path)  # a file that is not there is not made: an empty one would trust nobody
    try:
        with edit(expand(path), PATIENCE) as file:
            texts = decode_lines(path, file.read(FILE_MAX + 1))
            changed = _followed(path, texts, old, new)
            if changed is None:
                return False
            data = "\n".join(changed).encode()
            check_size(path, data)
            file.replace(data)
            return True
    except (OSError, ValueError) as exc:
        if isinstance(exc, TrustFormatError):
            raise
        raise TrustFormatError(file_problem(expand(path), exc)) from exc


def _followed(path: str | PathLike[str], texts: list[str], old: PublicKey, new: PublicKey) -> list[str] | None:
    lines = parse(path, texts)
    if old not in {line.key for line in lines if not (line.issuer or line.is_revoked)}:
        return None
    knows_new = any(line.key == new for line in lines)
    changed = []
    for text in texts:
        line = parse_line(clean_line(text))
        if line is None or line.issuer or line.is_revoked or line.key != old:
            changed.append(text)
            continue
        if not knows_new:
            changed.append(in_place_of(text, old, new))
        changed.append(f"{REVOKED}{line.key}")
    parse(path, changed)
    return changed
