"""Entries: where a server is, said by itself, signed by its identity. No I/O, no clock (protocol section 15.1).

An entry is the bytes of a map, and travels as it was signed: whoever reads it checks the signature over just these
bytes, and makes nothing of what is not as the table says. It comes from strangers in any case: a directory passes on
what others have signed, and has no say in it.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from chanlink import clock
from chanlink.errors import AddressError, HandshakeError, KeyFormatError
from chanlink.security.keys import openssh
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.successor import Successor
from chanlink.security.payloads import Entry as Field
from chanlink.security.payloads import Table, read
from chanlink.transport.address import MAX_NAME, is_good_name
from chanlink.transport.target import parse_remote

from .problems import BadEntry

NAMESPACE = b"chanlink-entry-v1"
MAX_ENTRY = 4_096
"""Bytes of an entry."""
MAX_SSHSIG = 1_024
"""Bytes of its signature; ours have 187."""
MAX_PREKEYS = 8_192
"""Bytes of what lies beside it."""
MAX_LIFE = 3_600
"""Seconds that an entry lives at most: so long a server that has lost its key may be asked for under its name."""
MAX_SERIAL = 2**63 - 1
ADDRESSES = 16
"""Of one entry, at most."""
MAX_ADDRESS = 300
"""Characters of an address: a host has at most 253."""
SERVICES = 256
MAX_SERVICE = 128
"""Services of one entry, and characters of each, at most."""
CLOCK_SKEW = 300
"""Seconds that two clocks may be apart, as in certificates."""
REMOTE = ("tcp", "tls", "ws", "wss", "via")
"""Schemes that lead to another machine. Nothing else is followed that came over the network: ``unix:`` would be a
socket of the reader's, and a scheme that runs a program a program of the writer's choice."""
FOLLOWED = ("tcp",)
"""Those of them that this version can connect to."""

_TABLE: Table = {
    "name": Field(str),
    "serial": Field(int, 1, MAX_SERIAL),
    "life": Field(int, 1, MAX_LIFE),
    "addresses": Field(list),
    "services": Field(list),
}


class Signed(NamedTuple):
    """An entry as it travels."""

    entry: bytes
    sshsig: bytes


class Said(NamedTuple):
    """What an entry says."""

    name: str
    key: PublicKey
    """Who has signed it."""
    serial: int
    """Nanoseconds since 1970, by the signer's clock, or more: each entry of a key has a higher one."""
    life: int
    """Seconds."""
    addresses: tuple[str, ...]
    services: tuple[str, ...]

    def check_time(self, now: float) -> None:
        """Raise `BadEntry` if at ``now``, in seconds since 1970 by our clock, it can't have been signed, or is over.

        This bounds for how long a directory can tell an entry that its server has long replaced.
        """
        ahead, over = self.serial / 1e9 - now, now - (self.serial / 1e9 + self.life)
        if ahead > CLOCK_SKEW:
            raise BadEntry(f"it was signed {ahead:.0f} s from now; one of the two clocks is wrong")
        if over > CLOCK_SKEW:
            raise BadEntry(f"it was over {over:.0f} s ago; or one of the two clocks is wrong")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Where a server is that registered a name, as that says itself."""

    name: str
    """What it is called."""
    key: PublicKey
    """Its identity, which has signed this. Whether it is the right one, another has to say: see `connect`."""
    addresses: tuple[str, ...]
    """As `connect` takes them, and only those that lead to other machines and that this version can connect to."""
    services: tuple[str, ...]
    """What it serves, by its own words; which of them a client may use its trust file says."""
    serial: int
    """A higher one is newer."""
    prekeys: bytes = b""
    """What its server has put beside it, unsigned."""
    until: float = dataclasses.field(default=0.0, repr=False, compare=False)
    """Until when it holds, by the clock of sessions: see `expires_in`."""

    @property
    def expires_in(self) -> float:
        """Seconds for which it holds from now on; 0 when it holds no more. Counted by our own clock."""
        return max(0.0, self.until - clock.now())


async def sign(
    identity: Identity, name: str, addresses: Sequence[str], services: Sequence[str], serial: int, life: int
) -> Signed:
    """Make an entry. Raises `BadEntry` for what none can be, and what ``identity`` raises."""
    fields = {
        "name": name,
        "serial": serial,
        "life": life,
        "addresses": list(addresses),
        "services": list(services),
    }
    entry: bytes = msgpack.packb(fields)
    signature = await identity.sign(openssh.sshsig_signed_data(NAMESPACE, entry))
    signed = Signed(entry, openssh.encode_sshsig(identity.public_key, NAMESPACE, signature))
    parse(signed)  # a signer elsewhere may be wrong: find out here, not at the directory
    return signed


def parse(signed: Signed) -> Said:
    """What an entry says, and who has signed it. Raises `BadEntry`; its time is not looked at."""
    entry, sshsig = signed
    if len(entry) > MAX_ENTRY:
        raise BadEntry(f"an entry has at most {MAX_ENTRY} bytes")
    if len(sshsig) > MAX_SSHSIG:
        raise BadEntry(f"a signature has at most {MAX_SSHSIG} bytes")
    try:
        key, signature = openssh.parse_sshsig(sshsig, NAMESPACE)
        found = read(entry, _TABLE)
    except (KeyFormatError, HandshakeError) as exc:
        raise BadEntry(f"it can't be read: {exc}") from exc
    _check_name(found["name"])
    _check_addresses(found["addresses"])
    _check_services(found["services"])
    # Last, since it costs most.
    if not key.verify(openssh.sshsig_signed_data(NAMESPACE, entry), signature):
        raise BadEntry("its signature is wrong")
    return Said(found["name"], key, found["serial"], found["life"], tuple(found["addresses"]), tuple(found["services"]))


def _check_name(name: str) -> None:
    if not is_good_name(name):
        raise BadEntry(f"{name!r:.70} is no name: it has at most {MAX_NAME} letters, digits, and _ . - only")


def _check_addresses(addresses: Sequence[str]) -> None:
    if len(addresses) > ADDRESSES:
        raise BadEntry(f"an entry has at most {ADDRESSES} addresses")
    for address in addresses:
        if len(address) > MAX_ADDRESS or not (address.isascii() and address.isprintable()):
            raise BadEntry(f"{address!r:.70} is no address")
        scheme, separator, _ = address.partition("://")
        if not separator or scheme not in REMOTE:
            raise BadEntry(f"{address!r:.70} does not lead to another machine; only {', '.join(REMOTE)} do")
        if scheme in FOLLOWED:
            _check_followed(address)


def _check_followed(address: str) -> None:
    try:
        parse_remote(address)
    except AddressError as exc:
        raise BadEntry(str(exc)) from exc


def _check_services(services: Sequence[str]) -> None:
    if len(services) > SERVICES:
        raise BadEntry(f"an entry has at most {SERVICES} services")
    for service in services:
        if not 0 < len(service) <= MAX_SERVICE or not service.isprintable():
            raise BadEntry(f"{service!r:.70} is not the name of a service")


def old_key(new: PublicKey, time: int, sshsig: bytes, now: float) -> bytes:
    """In whose place this key comes, by what that one has signed; empty if it does not hold now. Raises `BadEntry`."""
    try:
        successor = Successor.parse(time, sshsig, new)
    except KeyFormatError as exc:
        raise BadEntry(f"what the old key says of this one can't be read: {exc}") from exc
    return successor.old.raw if successor.holds(int(now)) else b""


def entry_of(said: Said, left: float, prekeys: bytes) -> Entry:
    """What a client gets of it. ``left`` is what the directory says, in seconds; it can't add to its life."""
    return Entry(
        said.name,
        said.key,
        tuple(one for one in said.addresses if one.partition("://")[0] in FOLLOWED),
        said.services,
        said.serial,
        prekeys,
        clock.now() + min(left, said.life),
    )
