"""The released version and this one understand each other, in both roles (protocol, version 1)."""

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import Identity
from tests.patience import PATIENCE

from .interactions import CLIENT, SERVER, Place, old_peer

ROOT = Path(__file__).parents[2]
RELEASED = "9f6da47"
"""The commit of version 0.1."""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the released package."""
    archive = subprocess.run(["git", "archive", RELEASED, "chanlink"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {RELEASED}, version 0.1, is not in this clone")
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("old", ["call", "serve"])
def test_the_released_version_and_this_one_exchange_everything(old: str, released: Path, tmp_path: Path) -> None:
    for name in ("call", "serve"):
        Identity.generate(name).save(tmp_path / name)

    def start(role: str, peer: str) -> "subprocess.Popen[str]":
        path = os.fspath(released if role == old else ROOT)
        arguments = [f"unix:{tmp_path}/socket", os.fspath(tmp_path / role), os.fspath(tmp_path / f"{peer}.pub")]
        return subprocess.Popen(
            [sys.executable, os.fspath(ROOT / "tests" / "project" / "exchange.py"), role, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )

    server = start("serve", "call")
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        client = start("call", "serve")
        output, _ = client.communicate(timeout=PATIENCE)
        code = "end-of-stream" if old == "call" else "EndOfStream"
        assert output.splitlines() == [f"failed with {code}", "ok"]
        assert client.returncode == 0
    finally:
        server.kill()
        server.communicate()


@pytest.mark.anyio
async def test_a_released_server_says_only_that_nobody_took_a_message(tmp_path: Path) -> None:
    """Protocol section 6.2: who sent the message is told more."""
    place = Place(frozenset(), tmp_path)
    with anyio.fail_after(PATIENCE):
        async with old_peer(place, "serve", place.address) as said:
            assert await anext(said) == "ready"
            async with chanlink.connect(place.address, identity=CLIENT, peer=SERVER.public_key) as session:
                requests: chanlink.Sender[object] = await session.open("nowhere")
                reply, replies = chanlink.pipe()
                await requests.send(reply)
                with pytest.raises(chanlink.ChannelFailed) as failed:
                    await replies.receive()
                assert failed.value.code == "not-taken"
                refusal = await requests.wait_closed()
                assert isinstance(refusal, chanlink.ChannelRefused)
                assert refusal.code == "no-such-service"
