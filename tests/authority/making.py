"""Authorities with keys of their own, and what they say of a client's key in each case."""

import base64
from pathlib import Path

from chanlink.security.keys.credential import Credential
from chanlink.security.keys.openssh import PublicKey
from tests.security.keys.credentials import CA
from tests.security.keys.programs import ssh_keygen

from .cases import Case

ORG = CA("org")
PRINCIPALS = ("alice", "bob")
"""Those for whom it is believed."""


class Authorities:
    """Their keys in a folder, and the file with what is revoked; the ``stranger`` is believed by nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.revoked = folder / "revoked"
        ORG.identity.save(folder / "org")

    def key(self, name: str) -> Path:
        """The key of one, made when it is first needed."""
        path = self.folder / name
        if not path.exists():
            ssh_keygen("-q", "-t", name.replace("stranger", "ed25519"), "-N", "", "-f", path)
        return path

    def trust(self, *options: str) -> Path:
        """A trust file of ours that believes them."""
        file = self.folder / "trust"
        words = ",".join(("cert-authority", 'issuer="org"', f'principals="{",".join(PRINCIPALS)}"', *options))
        file.write_text(f"{words} {ORG.key}\n")
        return file


def make(case: Case, authorities: Authorities, key: Path) -> None:
    """The client's key, what vouches for it, and what is revoked."""
    public = key.with_name("key.pub")
    if case.key == "org":
        ORG.identity.save(key)
    else:
        ssh_keygen("-q", "-t", case.key, "-N", "", "-f", key)
    certificate = key.with_name("key-cert.pub")
    if case.made is None:
        ca = key if case.ca == "itself" else authorities.key(case.ca)
        named = ["-n", case.principals] if case.principals else []
        ssh_keygen("-q", "-s", ca, "-I", "of a test", "-z", "7", *named, *case.options, public)
    else:
        changes = dict(case.made)
        if changes.get("ca") == "credential":
            changes["ca"] = ORG.blob(ORG.key)
        write(certificate, ORG.blob(PublicKey.load(public), **changes))
    if case.changed:
        write(certificate, change(case.changed, certificate))
    revoke(case, authorities, public)


def write(path: Path, blob: bytes) -> None:
    path.write_text(f"ssh-ed25519-cert-v01@openssh.com {b64(blob)} of a test\n")


def b64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def change(how: str, certificate: Path) -> bytes:
    blob = Credential.load(certificate).blob
    if how == "key":
        return ORG.blob(ORG.key)
    if how == "serial":
        return blob.replace(bytes(7) + b"\7", bytes(7) + b"\6", 1)
    return {"signature": blob[:-1] + bytes([blob[-1] ^ 1]), "cut": blob[:-1], "more": blob + b"x"}[how]


def revoke(case: Case, authorities: Authorities, public: Path) -> None:
    names = {"ca": str(ORG.key), "key": public.read_text().strip()}
    if case.plain:
        authorities.revoked.write_text(case.plain.format(**names))
    elif case.revoked:
        specification = public.with_name("specification")
        specification.write_text(case.revoked.format(**names) + "\n")
        ssh_keygen("-q", "-k", "-f", authorities.revoked, "-s", authorities.folder / "org.pub", specification)
