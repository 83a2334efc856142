"""The maps of the hello, of the handshake and of records: what is in them, and how they are read. No I/O.

Each map has a table that says of each entry what it must be (protocol sections 1 to 3, and 18). What no table has is
skipped, and nothing is made of it. Texts are read one by one, never as the keys of a map that msgpack makes: those it
interns, and some versions of CPython never free what was interned. Most of these maps come from strangers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from chanlink.errors import HandshakeError
from chanlink.limits import PEER_RANGES

_SSHSIG_MAX = 1_024
"""Bytes of a certificate's signature. Ours have 187."""
MOST_MILLISECONDS = 2**32 - 1
"""Of a time for which a session may be resumed."""
PREKEY_MAX, PREKEY_NAME = 2_048, 8
"""Bytes of a prekey, and of what names it."""
CREDENTIAL_MAX, SERVICE_MAX = 2_048, 255
"""Bytes of a credential, and of the name of a service."""
_MAX_ITEMS = 256
"""Of a list or map."""
_MAPS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
_LISTS = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
"""The bytes that begin one."""


class Entry(NamedTuple):
    """What an entry of a map must be."""

    type: type
    """int, bool, str, bytes, list (of texts) or dict."""
    least: int = 0
    most: int = 2**64 - 1
    """The range of an int, or of how many bytes there are, of a text in UTF-8."""
    entries: Mapping[str, "Entry"] = {}
    """Those of a map."""
    optional: bool = False


Table = Mapping[str, Entry]

CERTIFICATE: Table = {"not_before": Entry(int), "not_after": Entry(int), "sshsig": Entry(bytes, most=_SSHSIG_MAX)}
SUCCESSOR: Table = {"time": Entry(int), "sshsig": Entry(bytes, most=_SSHSIG_MAX)}
LIMITS: Table = {name: Entry(int, least, most, optional=True) for name, (least, most) in PEER_RANGES.items()}
_CERTIFIED: Table = {
    "certificate": Entry(dict, entries=CERTIFICATE),
    "limits": Entry(dict, entries=LIMITS, optional=True),
    "features": Entry(list, optional=True),
}
_CREDENTIAL: Table = {"ssh_certificate": Entry(bytes, 1, CREDENTIAL_MAX, optional=True)}
_SHOWN: Table = {**_CERTIFIED, **_CREDENTIAL, "successor": Entry(dict, entries=SUCCESSOR, optional=True)}
_SERVICE: Table = {"service": Entry(str, 1, SERVICE_MAX, optional=True)}

HELLO: Table = {
    "pattern": Entry(str),
    "suites": Entry(list),
    "prekey": Entry(bytes, PREKEY_NAME, PREKEY_NAME, optional=True),
}
FIRST: Table = {"time": Entry(int)}
OFFER: Table = {**_SHOWN, "suite": Entry(str)}
ANSWER: Table = {
    **_SHOWN,
    **_SERVICE,
    "peer": Entry(bytes, 32, 32),
    "resume": Entry(int, 1, MOST_MILLISECONDS, optional=True),
    "session": Entry(bytes, 16, 16, optional=True),
    "early": Entry(int, 1, 1, optional=True),
}
RESUMABLE: Table = {
    "session": Entry(bytes, 16, 16),
    "milliseconds": Entry(int, 1, MOST_MILLISECONDS),
    "shared": Entry(bool),
}
RESUMED: Table = {"count": Entry(int), "proof": Entry(bytes, 32, 32)}
WELCOMED: Table = {
    "code": Entry(str),
    "text": Entry(str, optional=True),
    "you": Entry(bytes, 32, 32),
    "instance": Entry(bytes, 16, 16, optional=True),
    "resumable": Entry(dict, entries=RESUMABLE, optional=True),
    "resumed": Entry(dict, entries=RESUMED, optional=True),
    "why": Entry(str, optional=True),
    "prekey": Entry(bytes, most=PREKEY_MAX, optional=True),
}
PREKEY: Table = {**_CERTIFIED, "static": Entry(bytes, 32, 32)}
EARLY_FIRST: Table = {
    **_CERTIFIED,
    **_CREDENTIAL,
    **_SERVICE,
    "peer": Entry(bytes, 32, 32),
    "data": Entry(bytes),
}
EARLY_ANSWER: Table = {**WELCOMED, "suite": Entry(str)}
TLS_SERVER: Table = _SHOWN
TLS_CLIENT: Table = {
    **_SHOWN,
    **_SERVICE,
    "key": Entry(bytes, 32, 32),
    "proof": Entry(bytes, 64, 64),
    "peer": Entry(bytes, 32, 32),
}
CLOSED: Table = {"code": Entry(str), "text": Entry(str, optional=True)}


def read(data: bytes, table: Table) -> dict[str, Any]:
    """The entries that the table has, each as it says. Raises `HandshakeError`, which names the one that is not."""
    reader = _Reader(data)
    try:
        found = reader.map(table)
        rest = reader.rest()
    except HandshakeError:
        raise
    except Exception as exc:  # msgpack raises half a dozen kinds
        raise HandshakeError("a malformed payload") from exc
    if rest:
        raise HandshakeError("a payload with something behind it")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
        self._unpacker.feed(data)

    def rest(self) -> int:
        return len(self._data) - int(self._unpacker.tell())

    def map(self, table: Table, where: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(_few(self._unpacker.read_map_header())):
            name = self._plain("a key", str)
            if name in found:
                raise HandshakeError(f"{where}{name} comes twice")
            if name in table:
                found[name] = self._value(table[name], f"{where}{name}")
            else:
                self._unpacker.skip()
        for name, entry in table.items():
            if name not in found and not entry.optional:
                raise HandshakeError(f"there is no {where}{name}")
        return found

    @property
    def _next(self) -> int:
        """The byte with which the next value begins."""
        at: int = self._unpacker.tell()
        return self._data[at]

    def _value(self, entry: Entry, name: str) -> Any:
        if entry.type is dict and self._next in _MAPS:
            return self.map(entry.entries, f"{name}.")
        if entry.type is list and self._next in _LISTS:
            return [self._plain(name, str) for _ in range(_few(self._unpacker.read_array_header()))]
        value = self._plain(name, entry.type)
        measure = _measure(value)
        if not entry.least <= measure <= entry.most:
            what = f"is {measure}" if entry.type is int else f"has {measure} bytes"
            raise HandshakeError(f"{name} {what}, not {entry.least} to {entry.most}")
        return value

    def _plain(self, name: str, type_: type) -> Any:
        """The next value, of this type; nothing is made of a list or map."""
        value = None if self._next in _MAPS | _LISTS else self._unpacker.unpack()
        if type(value) is not type_:
            raise HandshakeError(f"{name} is no {type_.__name__}")
        return value


def _measure(value: Any) -> int:
    """What has a range."""
    match value:
        case int():
            return value
        case bytes():
            return len(value)
        case str():
            return len(value.encode())
    return 0


def _few(items: int) -> int:
    if items > _MAX_ITEMS:
        raise HandshakeError(f"a list or map of more than {_MAX_ITEMS} items")
    return items
