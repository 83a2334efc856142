"""Credentials of hosts before a real ssh, which reads known_hosts, and before us, who read the same file."""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from chanlink import ChanlinkError, Identity, KnownPeers
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.transport.target import parse_target
from tests.patience import PATIENCE
from tests.security.keys.programs import ssh_keygen

from .making import ORG
from .sshd import PATH, needs_sshd

pytestmark = [needs_sshd, pytest.mark.slow]

OTHER = Identity.generate("other").public_key
HOST = "build.example"


@dataclass(frozen=True)
class Case:
    name: str
    known: str = "@cert-authority *.example {ca}"
    """A file in the syntax of known_hosts; ``{ca}``, ``{key}`` and ``{other}`` stand for keys."""
    principals: str = HOST
    options: tuple[str, ...] = ()
    """For ssh-keygen."""
    typed: str = HOST
    """What the user says for the host."""
    admitted: bool = True
    why: str = ""
    """In what ssh says when it refuses."""
    ours: str = ""
    """In what we say when we refuse."""
    stricter: bool = False
    """Whether we refuse what ssh admits: docs/reference/credentials.md says why."""


def bad(name: str, why: str, ours: str, /, **changes: object) -> Case:
    return Case(name, **changes, admitted=False, why=why, ours=ours)  # type: ignore[arg-type]


CASES = [
    Case("good"),
    Case("of one host", known=f"@cert-authority {HOST} {{ca}}"),
    Case("of several hosts", principals=f"web.example,{HOST}"),
    Case("typed in capitals", typed="BUILD.Example"),
    Case("for ever", options=("-V", "always:forever")),
    Case("beside its plain key", known=f"{HOST} {{key}}\n@cert-authority *.example {{ca}}"),
    Case("of a stranger's authority, with a plain key", known=f"@cert-authority *.example {{other}}\n{HOST} {{key}}"),
    bad("of another host", "not a listed principal", "none of the hosts", principals="web.example"),
    bad("of a host in capitals", "not a listed principal", "none of the hosts", principals="BUILD.example"),
    bad("of hosts elsewhere", "host key is known", "no key of it is known", known="@cert-authority *.org {ca}"),
    bad(
        "of a host that is left out",
        "host key is known",
        "no key of it is known",
        known=f"@cert-authority *.example,!{HOST} {{ca}}",
    ),
    bad("of a stranger's authority", "host key is known", "does not vouch", known="@cert-authority * {other}"),
    bad("expired", "expired", "has ended", options=("-V", "20200101:20210101")),
    bad("not yet valid", "not yet valid", "not valid before", options=("-V", "20990101:21000101")),
    bad("of a revoked authority", "REVOKED", "revoked", known="@cert-authority *.example {ca}\n@revoked * {ca}"),
    bad("of a revoked key", "revoked|REVOKED", "revoked", known="@cert-authority *.example {ca}\n@revoked * {key}"),
    bad("with a critical option", "critical option", "critical option", options=("-O", "critical:new@example=1")),
    Case("beside another plain key", f"{HOST} {{other}}\n@cert-authority * {{ca}}", ours="expected was", stricter=True),
]


def make(case: Case, folder: Path) -> None:
    """The key of a host, its credential, and the file that says whom to believe."""
    ORG.identity.save(folder / "org")
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", folder / "host")
    public = folder / "host.pub"
    ssh_keygen("-q", "-h", "-s", folder / "org", "-I", "x", "-n", case.principals, *case.options, public)
    keys = {"ca": str(ORG.key), "key": public.read_text().strip(), "other": str(OTHER)}
    (folder / "known").write_text(case.known.format(**keys) + "\n")
    (folder / "config").write_text(
        f"HostKey {folder}/host\nHostCertificate {folder}/host-cert.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
    )


def theirs(case: Case, folder: Path) -> str:
    """What ssh says. It authenticates by nothing, so that it is refused by the server, if it believes that it is it."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = ["ssh", "-F", "none", "-v", "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"]
    for option in (f"UserKnownHostsFile={folder}/known", "GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes"):
        command += ["-o", option]
    command += ["-o", f"ProxyCommand={shutil.which('sshd', path=PATH)} -i -f {folder}/config", case.typed, "true"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    return done.stderr


def why_not(case: Case, folder: Path) -> str:
    """Why we refuse the server; empty if we do not."""
    presented = Presented(PublicKey.load(folder / "host.pub"), Credential.load(folder / "host-cert.pub"))
    try:
        known = KnownPeers.load(folder / "known")
        grant = known._admit(parse_target(f"tcp://{case.typed}"), presented, int(time.time()))
    except ChanlinkError as exc:
        return str(exc)
    return "" if grant is not None else "no key of it is known"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(case: Case, tmp_path: Path) -> None:
    make(case, tmp_path)
    said, ours = theirs(case, tmp_path), why_not(case, tmp_path)
    assert ("Permission denied" in said) is case.admitted, said
    assert ("Host key verification failed" in said) is not case.admitted, said
    assert re.search(case.why, said), said
    assert bool(ours) is (not case.admitted or case.stricter), ours
    assert re.search(case.ours, ours), ours
