"""An authority in memory, which says of keys whatever a test wants; ssh-keygen says only what is right."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import pack

import nacl.bindings

from chanlink import Identity
from chanlink.security.keys.credential import CREDENTIAL_TYPE, USER, Credential
from chanlink.security.keys.identity import _SeedSigner
from chanlink.security.keys.openssh import KEY_TYPE, PublicKey, pack_string

FOREVER = 2**64 - 1
ALL = ("permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc")
"""The extensions that ssh-keygen gives to users."""


def pairs(values: Mapping[str, bytes]) -> bytes:
    """Options or extensions, in this order."""
    return b"".join(pack_string(name.encode()) + pack_string(value) for name, value in values.items())


class CA:
    """A certification authority with a key of its own."""

    def __init__(self, comment: str = "") -> None:
        self.identity = Identity.generate(comment)
        self.key = self.identity.public_key

    def sign(self, data: bytes) -> bytes:
        signer = self.identity._signer
        assert isinstance(signer, _SeedSigner)
        signature: bytes = nacl.bindings.crypto_sign(data, signer._secret_key)[:64]
        return pack_string(KEY_TYPE.encode()) + pack_string(signature)

    def blob(
        self,
        key: PublicKey,
        *,
        kind: str = CREDENTIAL_TYPE,
        type: int = USER,
        serial: int = 1,
        key_id: bytes = b"of a test",
        principals: Iterable[bytes] = (b"alice",),
        after: int = 0,
        before: int = FOREVER,
        options: Mapping[str, bytes] | bytes = b"",
        extensions: Mapping[str, bytes] | bytes = b"",
        ca: bytes | None = None,
        rest: bytes = b"",
    ) -> bytes:
        """The binary form, good or not (PROTOCOL.certkeys)."""
        named = b"".join(pack_string(name) for name in principals)
        lists = [one if isinstance(one, bytes) else pairs(one) for one in (options, extensions)]
        signed = pack_string(kind.encode()) + pack_string(bytes(32)) + pack_string(key.raw)
        signed += pack(">QI", serial, type) + pack_string(key_id) + pack_string(named) + pack(">QQ", after, before)
        signed += b"".join(map(pack_string, (*lists, b"", self.key.blob if ca is None else ca)))
        return signed + pack_string(self.sign(signed)) + rest

    def issue(
        self,
        key: PublicKey,
        *principals: str,
        type: int = USER,
        serial: int = 1,
        key_id: str = "of a test",
        after: int = 0,
        before: int = FOREVER,
        force_command: str | None = None,
        source_address: str | None = None,
        options: Mapping[str, bytes] | None = None,
        extensions: Iterable[str] = ALL,
    ) -> Credential:
        """A good one; of ``alice`` if no principal is named."""
        texts = {"force-command": force_command, "source-address": source_address}
        known = {name: pack_string(text.encode()) for name, text in texts.items() if text is not None}
        blob = self.blob(
            key,
            type=type,
            serial=serial,
            key_id=key_id.encode(),
            principals=[name.encode() for name in principals or ("alice",)],
            after=after,
            before=before,
            options=dict(sorted((known | dict(options or {})).items())),
            extensions=dict.fromkeys(sorted(extensions), b""),
        )
        return Credential.parse(blob)


def save(credential: Credential, key: Path) -> Path:
    """Write it beside the file of its key."""
    path = key.with_name(f"{key.name}-cert.pub")
    path.write_text(f"{credential} of a test\n")
    return path
