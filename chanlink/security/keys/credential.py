"""Credentials: OpenSSH certificates, by which an authority says of a key whose it is (protocol section 2.5).

The format is that of OpenSSH's PROTOCOL.certkeys. `Credential.parse` reads one to its last byte, and takes what sshd
takes or less, so that nothing has two meanings: docs/reference/credentials.md has the table of what is stricter here.

What can't be read is a `KeyFormatError`. A credential that can be read counts for nothing yet: `Trust` and
`KnownPeers` say which authorities are believed, and for whom.
"""

import base64
import dataclasses
import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Any, Self, TypeAlias

from chanlink import clock
from chanlink.arguments import expect
from chanlink.errors import KeyFormatError

from .openssh import KEY_TYPE, PublicKey, Reader, decode_base64, parse_file, parse_signature, three_words

CREDENTIAL_MAX = 2_048
"""Bytes of one, in its binary form."""
CREDENTIAL_TYPE = "ssh-ed25519-cert-v01@openssh.com"
USER, HOST = 1, 2
"""The types."""
OTHER_CA = "other-ca"
"""The code of the error for a credential whose only fault is that its authority has a key of another type."""
FORCE_COMMAND, SOURCE_ADDRESS = "force-command", "source-address"
"""The critical options that are known."""

_FLAGS = frozenset(
    {"no-touch-required", "permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding"}
    | {"permit-pty", "permit-user-rc"}
)
"""The extensions that sshd knows. None of them has a value."""
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True, slots=True)
class Credential:
    """What a certification authority has said of a key. Its signature was verified when this was made.

    Whether it counts is a question of whom one trusts, and of the time: `Trust` and `KnownPeers` say so. What is none,
    or has an option that can't be, is a `KeyFormatError` of who makes one, never a `ValueError` of an option later.
    """

    key: PublicKey
    """Whose it is."""
    ca: PublicKey
    """Who has signed it."""
    type: int
    """1 of a user, 2 of a host."""
    serial: int
    """Which one of the authority's it is, by its own count; 0 where it does not count."""
    key_id: str
    """What the authority calls it, for people."""
    principals: tuple[str, ...]
    """Who the key's owner may be."""
    valid_after: int
    """Seconds since 1970: from then on."""
    valid_before: int
    """Seconds since 1970: from then on no more."""
    options: tuple[tuple[str, bytes], ...]
    """The critical options, as they stand there."""
    extensions: frozenset[str]
    """What it permits: ``permit-pty``, ``permit-port-forwarding`` and so on."""
    blob: bytes
    """The binary form."""

    @classmethod
    def parse(cls, blob: bytes) -> Self:
        """Read the binary form, and verify the authority's signature. Raises `KeyFormatError`."""
        expect("blob", blob, bytes)
        if len(blob) > CREDENTIAL_MAX:
            raise KeyFormatError(f"a credential of {len(blob)} bytes, and {CREDENTIAL_MAX} are the most")
        return cls(**_parse_fields(Reader(blob)), blob=blob)

    @classmethod
    def parse_line(cls, text: str) -> Self:
        """Read ``ssh-ed25519-cert-v01@openssh.com AAAA... [comment]``, one line, as ``ssh-keygen -s`` writes it.

        Raises `KeyFormatError`.
        """
        expect("text", text, str)
        line = text.removesuffix("\n").removesuffix("\r").replace("\t", " ")
        if not line.isprintable():
            raise KeyFormatError("a credential is one line of printable text")
        if not line.strip():
            raise KeyFormatError("it is empty; ssh-keygen -s CA -n NAME writes a credential")
        kind, encoded, _ = three_words(line)
        if kind != CREDENTIAL_TYPE:
            raise KeyFormatError(_other_type(kind))
        return cls.parse(decode_base64(encoded))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file ``KEY-cert.pub`` (synchronously; ``~`` is expanded).

        Raises `KeyFormatError`, also when there is no such file.
        """
        return parse_file(path, cls.parse_line)

    def holds(self, now: int) -> bool:
        """Whether this is its time; ``now`` is in seconds since 1970."""
        return self.valid_after <= now < self.valid_before

    @property
    def force_command(self) -> str | None:
        """The command that is to run, whatever the peer asks for; ``None`` if nothing is said of that."""
        value = dict(self.options).get(FORCE_COMMAND)
        return None if value is None else _text(Reader(value).string(), FORCE_COMMAND)

    @property
    def source_addresses(self) -> tuple[Network, ...] | None:
        """The networks that the peer may come from; ``None`` if nothing is said of that."""
        value = dict(self.options).get(SOURCE_ADDRESS)
        return None if value is None else _parse_networks(_text(Reader(value).string(), SOURCE_ADDRESS))

    def allows_address(self, address: str) -> bool:
        """Whether a peer may come from this IP address. One without an address (``""``) has to be free to come from
        anywhere."""
        networks = self.source_addresses
        if networks is None:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:  # as sshd: a socket for both kinds says so
            found = found.ipv4_mapped
        return any(found in network for network in networks)

    @property
    def unknown_options(self) -> tuple[str, ...]:
        """The critical options that nobody here can enforce, so that it must not count."""
        return tuple(name for name, _ in self.options if name not in (FORCE_COMMAND, SOURCE_ADDRESS))

    @property
    def permits_terminals(self) -> bool:
        """Whether the peer may have a terminal."""
        return "permit-pty" in self.extensions

    @property
    def permits_forwarding(self) -> bool:
        """Whether the peer may have connections forwarded."""
        return "permit-port-forwarding" in self.extensions

    def __str__(self) -> str:
        return f"{CREDENTIAL_TYPE} {base64.b64encode(self.blob).decode()}"

    def __repr__(self) -> str:
        return f"<Credential {self.key_id!r} of {self.key.fingerprint}, serial {self.serial}>"


def out_of_time(credential: Credential, now: int) -> str:
    """Why it does not hold at this time (seconds since 1970), as the rest of a sentence; empty if it does."""
    if now < credential.valid_after:
        return f"is not valid before {clock.as_text(credential.valid_after)}"
    if now >= credential.valid_before:
        return f"has ended at {clock.as_text(credential.valid_before)}"
    return ""


def is_of(blob: bytes, key: PublicKey) -> bool:
    """Whether a binary credential, which is not verified by this, names this key. Raises `KeyFormatError`."""
    reader = Reader(blob)
    reader.string(), reader.string()  # the type, random bytes
    return reader.string() == key.raw


def _other_type(kind: str) -> str:
    if kind == KEY_TYPE:
        return "that is a public key alone; a credential is made of it by: ssh-keygen -s CA -I NAME -n PRINCIPAL FILE"
    return f"a credential of type {kind[:40]!r}, and only {CREDENTIAL_TYPE} is used"


# --- reading ------------------------------------------------------------------------------------


def _parse_fields(reader: Reader) -> dict[str, Any]:
    """All that `Credential` has, but for its bytes."""
    kind = reader.string()
    if kind != CREDENTIAL_TYPE.encode():
        raise KeyFormatError(_other_type(kind.decode("ascii", "replace")))
    reader.string()  # of random bytes: what is signed is nobody's choice alone
    fields: dict[str, Any] = {"key": PublicKey(reader.string())}
    fields |= {"serial": reader.uint64(), "type": _parse_type(reader.uint32())}
    fields |= {"key_id": _text(reader.string(), "key id"), "principals": _parse_principals(reader.string())}
    fields |= {"valid_after": reader.uint64(), "valid_before": reader.uint64()}
    fields["options"] = _parse_options(reader.string())
    fields["extensions"] = _parse_extensions(reader.string())
    reader.string()  # reserved, and ignored: PROTOCOL.certkeys
    fields["ca"] = _parse_ca(reader.string())
    signed = reader.taken
    signature = parse_signature(reader.string())
    reader.end()
    if not fields["ca"].verify(signed, signature):
        raise KeyFormatError("the authority's signature is wrong")
    return fields


def _parse_type(number: int) -> int:
    if number not in (USER, HOST):
        raise KeyFormatError(f"a credential of a user has the type 1, of a host 2; this one {number}")
    return number


def _parse_principals(data: bytes) -> tuple[str, ...]:
    names = tuple(_text(name, "principal") for name in _strings(data))
    if not names:  # sshd would take some of these for everybody's
        raise KeyFormatError("it names no principal; ssh-keygen -s CA -n NAME does")
    return names


def _parse_options(data: bytes) -> tuple[tuple[str, bytes], ...]:
    pairs = _parse_pairs(data)
    for name, value in pairs:
        if name in (FORCE_COMMAND, SOURCE_ADDRESS):
            text = _parse_value(name, value)
            if name == SOURCE_ADDRESS:
                _parse_networks(text)
    return pairs


def _parse_extensions(data: bytes) -> frozenset[str]:
    pairs = _parse_pairs(data)
    for name, value in pairs:
        if value and name in _FLAGS:
            raise KeyFormatError(f"the extension {name} has a value, and it never has one")
    return frozenset(name for name, _ in pairs)


def _parse_pairs(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """Options and extensions: names, in their order and each once, and what belongs to them."""
    parts = list(_strings(data))
    if len(parts) % 2:
        raise KeyFormatError("it is cut short")
    pairs = tuple(zip((_text(name, "option") for name in parts[::2]), parts[1::2], strict=True))
    for name, following in zip(parts[::2], parts[2::2], strict=False):
        if name >= following:
            raise KeyFormatError("its options are not in their order, or one stands twice")
    return pairs


def _parse_value(name: str, value: bytes) -> str:
    reader = Reader(value)
    text = _text(reader.string(), name)
    reader.end()
    return text


def _parse_networks(text: str) -> tuple[Network, ...]:
    """``10.0.0.0/8,fd00::1``, as sshd reads it. Raises `KeyFormatError`."""
    networks = []
    for part in text.split(","):
        try:
            if not _NETWORK.fullmatch(part):
                raise ValueError("neither an address nor a network")
            networks.append(ipaddress.ip_network(part))
        except ValueError as exc:
            raise KeyFormatError(f"{SOURCE_ADDRESS}: {part[:60]!r} is not a network") from exc
    return tuple(networks)


def _parse_ca(blob: bytes) -> PublicKey:
    kind = Reader(blob).string()
    if kind != KEY_TYPE.encode():
        raise KeyFormatError(
            f"its authority has a key of type {kind[:40].decode('ascii', 'replace')!r}, and only {KEY_TYPE} is used",
            code=OTHER_CA,
        )
    return PublicKey.from_blob(blob)


def _strings(data: bytes) -> Iterator[bytes]:
    reader = Reader(data)
    while reader.left:
        yield reader.string()


def _text(data: bytes, what: str) -> str:
    """Text that may stand in a log and on a terminal."""
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise KeyFormatError(f"the {what} of a credential is not UTF-8") from exc
    if not text.isprintable():
        raise KeyFormatError(f"the {what} of a credential has characters that can't be printed")
    return text
