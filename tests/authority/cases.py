"""Credentials of all kinds: how each is made, and what becomes of who shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chanlink.security.keys.openssh import pack_string


@dataclass(frozen=True)
class Case:
    """A credential, what is revoked, and where its client comes from."""

    name: str
    options: tuple[str, ...] = ()
    """For ssh-keygen, which makes it."""
    principals: str = "alice"
    """For ssh-keygen; empty for none."""
    ca: str = "org"
    """Whose key signs: ``org`` and those of other types are believed, ``stranger`` is not."""
    key: str = "ed25519"
    """The type of the client's key, or ``org``: the authority's own key."""
    made: Mapping[str, Any] | None = None
    """Made by hand, since ssh-keygen makes no such thing: what differs from a good one."""
    changed: str = ""
    """What is done to the bytes of a good one."""
    revoked: str = ""
    """A specification for ``ssh-keygen -k``; ``{ca}`` and ``{key}`` stand for the keys."""
    plain: str = ""
    """A list of keys in the place of that."""
    host: str = "127.0.0.1"
    """Where the client comes from, and goes to."""
    admitted: bool = True
    """By sshd, and by us unless ``stricter`` is set."""
    why: str = ""
    """In what sshd says when it refuses."""
    ours: str = ""
    """In what we say when we refuse."""
    stricter: bool = field(default=False)
    """Whether we refuse what sshd admits: docs/reference/credentials.md says why."""


def bad(name: str, why: str, ours: str, /, **changes: Any) -> Case:
    return Case(name, **changes, admitted=False, why=why, ours=ours)


def stricter(name: str, ours: str, /, **changes: Any) -> Case:
    return Case(name, **changes, ours=ours, stricter=True)


def option(*options: str) -> tuple[str, ...]:
    return tuple(word for one in options for word in ("-O", one))


def text(words: bytes) -> bytes:
    return pack_string(words)


FORCED = text(b"force-command") + text(text(b"echo forced"))
PTY = text(b"permit-pty") + text(b"")

TIMES = [
    Case("good"),
    Case("for ever", ("-V", "always:forever")),
    bad("expired", "Certificate invalid: expired", "has ended at", options=("-V", "20200101:20210101")),
    bad("not yet valid", "not yet valid", "not valid before", options=("-V", "20990101:21000101")),
    bad("of no time at all", "Certificate invalid", "has ended|not valid before", made={"after": 9, "before": 9}),
]
WHO = [
    bad("of a host", "not a user certificate", "one of a host", options=("-h",)),
    bad("of another principal", "authorized principal", "no line of its authority", principals="mallory"),
    bad("in capitals", "authorized principal", "no line of its authority", principals="Alice"),
    bad("of an empty principal", "authorized principal", "no line of its authority", made={"principals": (b"",)}),
    bad("of no principals", "does not contain an authorized principal", "names no principal", principals=""),
    Case("of two principals", principals="mallory,bob"),
    bad("of a stranger's authority", "Failed publickey", "no authority here", ca="stranger"),
    bad("signed by itself", "Failed publickey", "no authority here", ca="itself"),
    Case("of the authority's own key", key="org"),
    bad("of another key", "Failed publickey", "one of another key", changed="key"),
]
SOURCES = [
    Case("from where it may come", option("source-address=127.0.0.1")),
    bad("from elsewhere", "source address", "may not be used from 127", options=option("source-address=192.0.2.1")),
    Case("from a network", option("source-address=127.0.0.0/8")),
    Case("from one of several", option("source-address=192.0.2.0/24,fd00::/8,127.0.0.1/32")),
    bad("outside of a network", "source address", "may not be used", options=option("source-address=192.0.2.0/24")),
    Case("from IPv6", option("source-address=::1"), host="::1"),
    Case("from a network of IPv6", option("source-address=::/64"), host="::1"),
    bad("from IPv4, for IPv6", "source address", "may not be used", options=option("source-address=::/0")),
    bad("from IPv6, for IPv4", "source address", "may not", options=option("source-address=0.0.0.0/0"), host="::1"),
    bad(
        "from a net with host bits", "", "no|not a network", made={"options": {"source-address": text(b"127.0.0.1/8")}}
    ),
    bad("from nowhere", "contents invalid", "not a network", made={"options": {"source-address": text(b"")}}),
    bad("from a name", "contents invalid", "not a network", made={"options": {"source-address": text(b"localhost")}}),
    bad("from a source cut short", "Unable to parse", "cut short", made={"options": {"source-address": b""}}),
]
OPTIONS = [
    Case("with a forced command", option("force-command=echo forced")),
    Case("with no terminal", option("no-pty")),
    Case("with no forwarding", option("no-port-forwarding")),
    Case("with nothing", option("clear")),
    bad("with a new critical option", "is not supported", "critical option", options=option("critical:new@example=1")),
    Case("with a new extension", option("extension:new@example=1")),
    bad("with a terminal of a kind", "extra data", "permit-pty has a value", made={"extensions": {"permit-pty": b"x"}}),
    bad("with two commands", "multiple", "not in their order", made={"options": FORCED + FORCED}),
    bad(
        "with more behind a command", "extra data", "something", made={"options": {"force-command": text(b"x") + b"x"}}
    ),
    bad("with half an option", "invalid format", "cut short", made={"options": text(b"force-command")}),
    stricter("that wants a PIN", "critical option", options=option("verify-required")),
    stricter("out of order", "not in their order", made={"extensions": {"permit-pty": b"", "a@example": b""}}),
    stricter("with an extension twice", "not in their order", made={"extensions": PTY + PTY}),
]
FORMS = [
    bad("with a wrong signature", "incorrect signature", "signature is wrong", changed="signature"),
    bad("with a change in it", "incorrect signature", "signature is wrong", changed="serial"),
    bad("cut short", "invalid format", "cut short", changed="cut"),
    bad("with something behind", "invalid format", "something follows", changed="more"),
    bad("of type 3", "unknown/unsupported certificate type", "type 1", made={"type": 3}),
    bad(
        "of an authority that is a credential",
        "invalid certificate signing key",
        "its authority has a key",
        made={"ca": "credential"},
    ),
    stricter("with a key id of two lines", "key id", made={"key_id": b"a\nb"}),
    stricter("with a principal in color", "principal", made={"principals": (b"alice", b"\x1b[31mred")}),
    stricter("with a key id that is not UTF-8", "not UTF-8", made={"key_id": b"\xff"}),
    stricter("that is long", "2048 are the most", principals=",".join(["alice", *(f"{n:040}" for n in range(60))])),
    stricter("of an RSA authority", "only ssh-ed25519 is used", ca="rsa"),
    stricter("of an ECDSA authority", "only ssh-ed25519 is used", ca="ecdsa"),
]
REVOKED = [
    bad("revoked by its number", "revoked by file", "its credential is revoked", revoked="serial: 7"),
    bad("revoked by a range", "revoked by file", "its credential is revoked", revoked="serial: 5-9"),
    bad("revoked by its key id", "revoked by file", "its credential is revoked", revoked="id: of a test"),
    bad("revoked by its key", "revoked by file", "its key is revoked", revoked="key: {key}"),
    bad("revoked by a hash of its key", "revoked by file", "its key is revoked", revoked="sha256: {key}"),
    bad("revoked with its authority", "revoked by file", "its authority is revoked", revoked="key: {ca}"),
    bad("revoked in a list of keys", "revoked by file", "its key is revoked", plain="# stolen\n{key}\n"),
    bad("revoked in a list of authorities", "revoked by file", "its authority is revoked", plain="{ca}\n"),
    bad("under a list that can't be read", "Error checking", "line 1: not of the form", plain="nothing\n"),
    Case("whose neighbour is revoked", revoked="serial: 6\nserial: 8\nid: of a testament"),
    Case("of no number, where many are revoked", ("-z", "0"), revoked="serial: 1-99"),
]
CASES = [*TIMES, *WHO, *SOURCES, *OPTIONS, *FORMS, *REVOKED]


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
