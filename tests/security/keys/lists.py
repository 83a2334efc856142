"""Revocation lists, made by hand (PROTOCOL.krl)."""

from struct import pack

from chanlink.security.keys.openssh import pack_string

KRL_HEAD = b"SSHKRL\n\0" + pack(">IQQQ", 1, 1, 0, 0) + pack_string(b"") + pack_string(b"a comment")


def section(kind: int, *parts: bytes) -> bytes:
    return bytes([kind]) + pack_string(b"".join(parts))


def certificates_of(ca: bytes, *sections: bytes) -> bytes:
    """Of one authority; of any, if its key is empty."""
    return section(1, pack_string(ca), pack_string(b""), *sections)


def serials(numbers: bytes) -> bytes:
    """A list of serial numbers, of eight bytes each."""
    return section(0x20, numbers)


def bitmap(offset: int, bits: int, length: int = 4) -> bytes:
    return section(0x22, pack(">Q", offset), pack_string(bits.to_bytes(length)))
