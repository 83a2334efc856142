"""The messages between a daemon and an application (protocol section 16). No I/O.

Each is a class whose fields are the entries of its map: what is optional is None where it is not there. A message that
was `read` is as its table says; who reads names the sorts that may come now.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import msgpack

from chanlink.errors import HandshakeError, RemoteProtocolError
from chanlink.security.keys.credential import CREDENTIAL_MAX
from chanlink.security.payloads import LIMITS, MOST_MILLISECONDS, Entry, Table, read

VERSION = 1
MESSAGE_MAX = 65_536
"""Bytes of one message."""
ID_BYTES = 16
"""Of what names a session between the two."""
TEXT_MAX = 1_024
HOST_MAX = 255
"""Bytes of what is for people, and of the name of a host."""

_MILLISECONDS = Entry(int, 1, MOST_MILLISECONDS, optional=True)
_CODE = Entry(str, 1, 64)
_ID = Entry(bytes, ID_BYTES, ID_BYTES)
_KEY = Entry(bytes, 32, 32)
_NAME = Entry(str, most=4_096)
_LIMITS = Entry(dict, entries=LIMITS)
_TIME = Entry(int, optional=True)

_PEER: Table = {
    "key": _KEY,
    "name": _NAME,
    "names": Entry(list, optional=True),
    "issuer": _NAME._replace(optional=True),
    "principal": _NAME._replace(optional=True),
    "credential": Entry(bytes, 1, CREDENTIAL_MAX, optional=True),
}
_VOUCHED = ("issuer", "principal", "credential")


class Message:
    """One of those below."""

    WHAT: ClassVar[str]
    """How it is called in its map."""
    TABLE: ClassVar[Table]
    """Its entries."""

    def packed(self) -> bytes:
        """As it travels."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        data: bytes = msgpack.packb(
            {"what": self.WHAT, **{name: one for name, one in found.items() if one is not None}}
        )
        return data


# --- from the application -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connect(Message):
    """A session with this host, please; or a return to the session that has this ``id``."""

    WHAT = "connect"
    TABLE: ClassVar[Table] = {
        "version": Entry(int),
        "host": Entry(str, 1, HOST_MAX),
        "id": _ID,
        "limits": _LIMITS,
        "features": Entry(list),
        "resume": _MILLISECONDS,
        "session": _ID._replace(optional=True),
        "milliseconds": _MILLISECONDS,
    }
    version: int = VERSION
    host: str
    id: bytes
    limits: Mapping[str, int]
    features: Sequence[str]
    resume: int | None = None
    session: bytes | None = None
    milliseconds: int | None = None
    """For how long the answer is waited for."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Advertise(Message):
    """Sessions of those who want this service, please."""

    WHAT = "advertise"
    TABLE: ClassVar[Table] = {"version": Entry(int), "features": Entry(list), "resume": _MILLISECONDS}
    version: int = VERSION
    features: Sequence[str]
    resume: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attach(Message):
    """This is the control line of that session from now on."""

    WHAT = "attach"
    TABLE: ClassVar[Table] = {"version": Entry(int), "id": _ID}
    version: int = VERSION
    id: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Message):
    """A session that was handed over is over."""

    WHAT = "ended"
    TABLE: ClassVar[Table] = {"id": _ID, "code": Entry(str, most=64, optional=True)}
    id: bytes
    code: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Message):
    """No more sessions, but returns to those that there are."""

    WHAT = "withdrawn"
    TABLE: ClassVar[Table] = {}


# --- from the daemon ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Message):
    """There is no session, or no advertisement; the daemon ends the line."""

    WHAT = "refused"
    TABLE: ClassVar[Table] = {
        "code": _CODE,
        "text": Entry(str, most=TEXT_MAX),
        "expected": Entry(str, most=HOST_MAX, optional=True),
        "found": Entry(str, most=HOST_MAX, optional=True),
    }
    code: str
    text: str
    expected: str | None = None
    found: str | None = None
    """Fingerprints of keys."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver(Message):
    """A connection, and what has come of its handshake; the descriptor comes with it."""

    WHAT = "handed-over"
    TABLE: ClassVar[Table] = {
        "id": _ID,
        "suite": Entry(str, 1, 64),
        "client_key": _KEY,
        "server_key": _KEY,
        "exporter_secret": _KEY,
        "h": _KEY,
        "identity": _KEY,
        "peer": Entry(dict, entries=_PEER),
        "address": _NAME,
        "peer_limits": _LIMITS,
        "limits": _LIMITS,
        "features": Entry(list),
        "round_trip": Entry(int),
        "expires": _TIME,
        "resume": _MILLISECONDS,
        "instance": _ID._replace(optional=True),
        "returns": Entry(bool, optional=True),
    }
    id: bytes
    suite: str
    client_key: bytes = dataclasses.field(repr=False)
    server_key: bytes = dataclasses.field(repr=False)
    exporter_secret: bytes = dataclasses.field(repr=False)
    h: bytes
    identity: bytes
    """The key of the identity that this side has shown."""
    peer: Mapping[str, Any]
    address: str
    peer_limits: Mapping[str, int]
    limits: Mapping[str, int]
    """What was said of this side."""
    features: Sequence[str]
    round_trip: int
    """Microseconds."""
    expires: int | None = None
    """Seconds since 1970."""
    resume: int | None = None
    """For how many milliseconds the client may be away."""
    instance: bytes | None = None
    returns: bool | None = None
    """Whether the client comes back to the session that has this id."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Advertised(Message):
    """Sessions will come."""

    WHAT = "advertised"
    TABLE: ClassVar[Table] = {"limits": _LIMITS, "addresses": Entry(list)}
    limits: Mapping[str, int]
    addresses: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attached(Message):
    """This is the control line of that session."""

    WHAT = "attached"
    TABLE: ClassVar[Table] = {"id": _ID, "expires": _TIME}
    id: bytes
    expires: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Over(Message):
    """A session ends now."""

    WHAT = "over"
    TABLE: ClassVar[Table] = {"id": _ID, "code": _CODE}
    id: bytes
    code: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Message):
    """Something is otherwise from now on."""

    WHAT = "changed"
    TABLE: ClassVar[Table] = {"id": _ID, "name": _NAME._replace(optional=True), "expires": _TIME}
    id: bytes
    name: str | None = None
    expires: int | None = None


# --- reading ------------------------------------------------------------------------------------


def read_message(data: bytes, sorts: Collection[type[Message]]) -> Message:
    """The message, if it is one of these sorts. Raises `RemoteProtocolError`."""
    try:
        what = read(data, {"what": Entry(str, most=64)})["what"]
        sort = next((sort for sort in sorts if what == sort.WHAT), None)
        if sort is None:
            raise HandshakeError(f"{what[:64]!r} is not for now")
        message = sort(**read(data, sort.TABLE))
        _check(message)
    except HandshakeError as exc:
        raise RemoteProtocolError(f"a malformed message: {exc}") from exc
    return message


def _check(message: Message) -> None:
    """What no table says."""
    match message:
        case Connect(resume=int(), session=bytes()):
            raise HandshakeError("resume and session")
        case HandedOver(peer=peer) if len({name in peer for name in _VOUCHED}) > 1:
            raise HandshakeError(f"of {', '.join(_VOUCHED)} all are there, or none")
