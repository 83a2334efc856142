"""A clock that is wrong: the server says nothing to whom it can't believe, and so the client says what it may be."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

import chanlink
from chanlink import Identity, Trust
from tests.command.calls import ANYWHERE, ROOT, environment, make_keys, serving
from tests.patience import PATIENCE
from tests.security.keys.credentials import CA, save

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

PROGRAM = """
import sys, time
real, skew = time.time, float(sys.argv.pop(1))
time.time = lambda: real() + skew
from {} import main
sys.exit(main(sys.argv[1:]))
"""
MINUTE = 60
KEY = bytes(range(32))
ORG = CA("org")
TRUSTED = f'cert-authority,issuer="org",principals="alice" {ORG.key}\n'


@pytest.mark.parametrize("skew", [-6 * MINUTE, 6 * MINUTE, -2 * 24 * 60 * MINUTE])
@pytest.mark.parametrize("program", ["chanlink", "rexec"])
async def test_a_clock_that_is_wrong_by_six_minutes_is_named(program: str, skew: int, tmp_path: Path) -> None:
    said = await refused(program, skew, tmp_path)
    assert "one of the two clocks may be wrong, ours says 20" in said
    for misleading in ("pre-shared", "is it a chanlink server", "check that it is"):
        assert misleading not in said


@pytest.mark.parametrize("skew", [-2 * MINUTE, 2 * MINUTE])
async def test_with_a_pre_shared_key_two_minutes_are_named_beside_the_key(skew: int, tmp_path: Path) -> None:
    said = await refused("chanlink", skew, tmp_path, psk=KEY)
    assert "another pre-shared key, or none; or one of the two clocks may be wrong, ours says 20" in said


@pytest.mark.parametrize("skew", [-60 * MINUTE, 60 * MINUTE])
async def test_by_an_hour_it_is_the_clock_that_is_named_and_not_the_credential(skew: int, tmp_path: Path) -> None:
    """Which is not shown then, since its time is not, or not yet, by that clock."""
    now = int(time.time())
    said = await refused(
        "chanlink", skew, tmp_path, credential={"after": now - 30 * MINUTE, "before": now + 30 * MINUTE}
    )
    assert "one of the two clocks may be wrong, ours says 20" in said
    assert "credential" not in said


@pytest.mark.parametrize(
    ("skew", "says"), [(-4 * MINUTE, "is not valid before 20"), (4 * MINUTE, "has ended at 20")], ids=["late", "early"]
)
async def test_by_four_minutes_the_credential_is_named_with_the_clock(skew: int, says: str, tmp_path: Path) -> None:
    """So much clocks may differ, and a credential is new, or ends, within that."""
    now = int(time.time())
    said = await refused("chanlink", skew, tmp_path, credential={"after": now, "before": now + 3 * MINUTE})
    assert f"does not trust our key; the credential 'of a test' {says}" in said
    assert "and is not shown; our clock says 20" in said


LOGGED = {
    -60 * MINUTE: "one of the two clocks may be wrong, ours says 20",
    -4 * MINUTE: "its credential is not valid before 20.*; our clock says 20",
}


@pytest.mark.parametrize("skew", LOGGED)
async def test_a_server_whose_clock_is_late_says_so_of_a_new_credential(skew: int, tmp_path: Path) -> None:
    """By an hour the client is told, too: it does not know whose clock it is."""
    me = vouched(tmp_path, after=int(time.time()))
    keys = make_keys(tmp_path, TRUSTED)
    command = [sys.executable, "-c", PROGRAM.format("chanlink.command"), str(skew)]
    with serving(keys, "bench", "--listen", ANYWHERE, command=command) as server:
        key = chanlink.PublicKey.load(tmp_path / "server.pub")
        with pytest.raises(chanlink.HandshakeError) as caught:
            async with chanlink.connect(server.address, identity=me, peer=key):
                pass
        await anyio.to_thread.run_sync(server.said, LOGGED[skew])
    if skew == -4 * MINUTE:
        assert isinstance(caught.value, chanlink.UntrustedPeer)
    else:
        assert "one of the two clocks may be wrong" in str(caught.value)


def vouched(folder: Path, **times: int) -> Identity:
    """A client with a credential of these times."""
    Identity.generate("me").save(folder / "me")
    save(ORG.issue(Identity.load(folder / "me").public_key, **times), folder / "me")
    return Identity.load(folder / "me")


async def refused(
    program: str, skew: int, folder: Path, psk: bytes | None = None, credential: dict[str, int] | None = None
) -> str:
    me, server = vouched(folder, **(credential or {})), Identity.generate("server")
    options: dict[str, Any] = {"identity": server, "trust": Trust.of(me.public_key), "psk": psk}
    if credential is not None:
        (folder / "trust").write_text(TRUSTED)
        options["trust"] = Trust.load(folder / "trust")
    keys = ["--identity", "me", "--peer", str(server.public_key)]
    if psk is not None:
        (folder / "psk").write_bytes(psk)
        (folder / "psk").chmod(0o600)
        keys += ["--psk", "psk"]
    async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener:
        words = {"chanlink": ["ping", *keys], "rexec": ["ps", *keys]}[program] + listener.addresses
        module = {"chanlink": "chanlink.command", "rexec": "examples.rexec.cli.main"}[program]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", PROGRAM.format(module), str(skew), *words],
                cwd=folder,
                env=environment(folder, PYTHONPATH=str(ROOT)),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        )
    assert done.returncode in (1, 255), done.stderr
    (said,) = done.stderr.splitlines()
    return said
