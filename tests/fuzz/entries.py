"""Entries of a directory, as a client reads what it is told of and a directory what is registered."""

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from chanlink import PublicKey
from chanlink.directory.entries import (
    FOLLOWED,
    MAX_ENTRY,
    MAX_LIFE,
    MAX_SERIAL,
    MAX_SSHSIG,
    NAMESPACE,
    Signed,
    entry_of,
    parse,
)
from chanlink.directory.problems import BadEntry
from chanlink.security.keys import openssh
from chanlink.transport.address import is_good_name

from .targets import target

_PUBLIC, SECRET = crypto_sign_seed_keypair(bytes([1]) * 32)
KEY = PublicKey(_PUBLIC)


def signed_by_us(entry: bytes) -> Signed:
    """With a good signature, so that what is in it counts."""
    data = openssh.sshsig_signed_data(NAMESPACE, entry)
    return Signed(entry, openssh.encode_sshsig(KEY, NAMESPACE, crypto_sign(data, SECRET)[: openssh.SIGNATURE_LENGTH]))


@target(1 + MAX_ENTRY + MAX_SSHSIG)
def directory_entry(data: bytes) -> None:
    """The first byte says what is made up: an entry that is well signed, or where the signature begins as well."""
    at, rest = data[:1], data[1:]
    signed = Signed(rest[: at[0]], rest[at[0] :]) if at > b"\0" else signed_by_us(rest[:MAX_ENTRY])
    try:
        said = parse(signed)
        said.check_time(said.serial / 1e9)
    except BadEntry:
        return
    entry = entry_of(said, 1e9, b"")
    assert is_good_name(said.name)
    assert 0 < said.serial <= MAX_SERIAL
    assert entry.expires_in <= said.life <= MAX_LIFE
    assert all(one.partition("://")[0] in FOLLOWED for one in entry.addresses)
