"""Which keys of etcd are what, what their values hold, and the requests that read and change them. No I/O.

Keys and values are base64 in the JSON of etcd's gateway, and numbers of 64 bits texts; what is zero or empty is left
out. Values are msgpack, made and read here only: whoever may write into this etcd is believed, and what is not as it
should be is an error, not an entry.
"""

import base64
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from chanlink import StoreError
from chanlink.directory.store import New, Owner, Stored

Message = dict[str, Any]


class Row(NamedTuple):
    """An entry as it stands in etcd."""

    name: str
    key: bytes
    serial: int
    life: int
    """Seconds, when it was written."""
    until: float
    """Seconds since 1970, by the clock of the directory that wrote it: a guess to begin with. The lease ends it."""
    entry: bytes
    sshsig: bytes
    prekeys: bytes
    lease: str

    def guess(self) -> float | None:
        """The seconds that it lives from now on, if our clock and that of its writer can be right."""
        left = self.until - time.time()
        return left if 0 < left <= self.life else None

    def as_stored(self, left: float) -> Stored:
        return Stored(self.name, self.key, self.serial, left, self.entry, self.sshsig, self.prekeys)


class Layout:
    """Where everything stands, below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.entries = f"{prefix}entries/"
        self._owners = f"{prefix}owners/"
        self._names = f"{prefix}names/"

    def owners(self, name: str) -> str:
        return f"{self._owners}{name}"

    @property
    def all_owners(self) -> str:
        return self._owners

    def entries_of(self, name: str) -> str:
        return f"{self.entries}{name}/"

    def entry(self, name: str, key: bytes) -> str:
        return f"{self.entries}{name}/{key.hex()}"

    def names_of(self, key: bytes) -> str:
        return f"{self._names}{key.hex()}/"

    def name_of(self, key: bytes, name: str) -> str:
        return f"{self._names}{key.hex()}/{name}"

    def which(self, key: str) -> tuple[str, bytes]:
        """The name and the key of an entry. Raises `StoreError`."""
        name, _, hexadecimal = key.removeprefix(self.entries).partition("/")
        try:
            return name, bytes.fromhex(hexadecimal)
        except ValueError as exc:
            raise StoreError(f"etcd has {key!r:.300}, which is not of a directory") from exc

    def is_told(self, steps: Iterable[Message], responses: Iterable[Message]) -> bool:
        """Whether who hears the entries is told of what these steps of a transaction have done."""
        return any(
            _has_changed(response) and text_of(request["key"]).startswith(self.entries)
            for step, response in zip(steps, responses, strict=True)
            for request in step.values()
        )

    def row(self, kv: Mapping[str, Any]) -> Row:
        """What an entry's key and value hold. Raises `StoreError`."""
        key = text_of(kv["key"])
        name, raw = self.which(key)
        serial, life, until, entry, sshsig, prekeys = _unpack(key, kv, 6)
        return Row(name, raw, serial, life, until, entry, sshsig, prekeys, str(kv.get("lease", "0")))


def pack_entry(new: New) -> bytes:
    """The value of an entry that begins to live now."""
    packed: bytes = msgpack.packb([new.serial, new.life, time.time() + new.life, new.entry, new.sshsig, new.prekeys])
    return packed


def pack_owners(owners: Iterable[Owner]) -> bytes:
    """The value of a name."""
    packed: bytes = msgpack.packb([list(owner) for owner in owners])
    return packed


def owners_in(kvs: Collection[Mapping[str, Any]]) -> tuple[list[Owner], str]:
    """Those that a name belongs to, and the revision to compare: 0 if nobody has it. Raises `StoreError`."""
    for kv in kvs:
        return [Owner(*one) for one in _unpack(text_of(kv["key"]), kv)], str(kv["mod_revision"])
    return [], "0"


def _unpack(key: str, kv: Mapping[str, Any], length: int | None = None) -> list[Any]:
    try:
        fields = msgpack.unpackb(base64.b64decode(kv.get("value", "")))
    except Exception as exc:  # msgpack has many, and no name for all of them
        raise StoreError(f"etcd has another value than a directory's at {key!r:.300}") from exc
    if not isinstance(fields, list) or (length is not None and len(fields) != length):
        raise StoreError(f"etcd has another value than a directory's at {key!r:.300}")
    return fields


# --- requests -----------------------------------------------------------------------------------


def text_of(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8", "replace")


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def below(prefix: str) -> Message:
    """The range of all keys that begin so."""
    return {"key": encoded(prefix), "range_end": encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1))}


def put(key: str, value: bytes, lease: str | None = None) -> Message:
    """One step of a transaction. It answers with what was there before."""
    request: Message = {"key": encoded(key), "value": encoded(value), "prev_kv": True}
    if lease is not None:
        request["lease"] = lease
    return {"request_put": request}


def delete(keys: Message) -> Message:
    """One step of a transaction. It answers with what was there before."""
    return {"request_delete_range": {**keys, "prev_kv": True}}


def read(keys: Message, **options: Any) -> Message:
    """One step of a transaction."""
    return {"request_range": {**keys, **options}}


def one(key: str) -> Message:
    """The range of one key."""
    return {"key": encoded(key)}


def _has_changed(response: Message) -> bool:
    return "response_put" in response or int(response["response_delete_range"].get("deleted", 0)) > 0


def transaction(steps: list[Message], owners: str = "", revision: str = "") -> Message:
    """Do these, if the owners of a name are still those of this revision."""
    same = {"key": encoded(owners), "target": "MOD", "result": "EQUAL", "mod_revision": revision}
    return {"compare": [same] if owners else [], "success": steps}


def leases_in(responses: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of the entries that a transaction has replaced or deleted: nothing needs them any more."""
    found: list[str] = []
    for response in responses:
        before = [response.get("response_put", {}).get("prev_kv") or {}]
        before += response.get("response_delete_range", {}).get("prev_kvs", ())
        found += [str(kv["lease"]) for kv in before if kv.get("lease", "0") != "0"]
    return found
