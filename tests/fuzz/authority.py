"""What authorities say, and old identities: credentials, revocation lists, successors.

A credential that was changed has a wrong signature. So there is a second mode, in which the authority has signed what
the fuzzer has made up.
"""

from contextlib import suppress

from chanlink.errors import KeyFormatError
from chanlink.security.keys import krl
from chanlink.security.keys.credential import CREDENTIAL_MAX, Credential
from chanlink.security.keys.openssh import KEY_FILE_MAX, PublicKey
from chanlink.security.keys.successor import Successor
from tests.security.keys.credentials import CA

from .targets import CLIENT_KEYS, target

ALICE = PublicKey(bytes.fromhex(CLIENT_KEYS))
MODES = ("options", "extensions", "key_id")


class _Authority:
    """Made when first needed."""

    ca: CA | None = None


def organization() -> CA:
    _Authority.ca = _Authority.ca or CA("org")
    return _Authority.ca


@target(CREDENTIAL_MAX)
def credential(data: bytes) -> None:
    """The binary form as it is, or a part of a credential that is signed; what is read can be asked for anything."""
    if data[:1] and data[0] - 1 in range(len(MODES)):
        data = organization().blob(ALICE, **{MODES[data[0] - 1]: data[1:]})  # type: ignore[arg-type]
    with suppress(KeyFormatError):
        one = Credential.parse(data)
        assert Credential.parse_line(str(one)) == one
        for text in (one.key_id, *one.principals, *one.unknown_options, *one.extensions, one.force_command or ""):
            assert text.isprintable()
        assert one.source_addresses is None or not one.allows_address("")
        one.allows_address("::ffff:192.0.2.1")


@target(krl.KRL_MAX, seconds=3.0)  # it is our own, and is read in a thread: half a million serial numbers
def revocation_list(data: bytes) -> None:
    """A list in the binary form, or a plain one."""
    with suppress(KeyFormatError):
        one = krl.Krl.parse(data)
        one.revokes(ALICE)
        one.revokes_credential(organization().issue(ALICE))


@target(KEY_FILE_MAX)
def successor(data: bytes) -> None:
    """The line of a file, and the signature alone."""
    for read in (lambda: Successor.parse(0, data, ALICE), lambda: Successor.parse_line(data.decode("latin-1"))):
        with suppress(KeyFormatError):
            one = read()
            assert Successor.parse_line(str(one)) == one
