"""The directory that a text names, or the environment, and the names that a pattern matches there."""

from pathlib import Path

import pytest

from chanlink import ConfigError, ConnectFailed, KnownPeers, WrongPeer
from chanlink.directory import names_matching, open_directory

from .hosting import SERVER, served
from .made import ALICE, BOB

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
KEY = " ".join(str(SERVER.public_key).split()[:2])


async def test_a_text_or_else_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANLINK_DIRECTORY", raising=False)
    async with served() as host:
        text = f"{host.address} {KEY}"
        async with open_directory(text, identity=ALICE) as directory:
            await directory.register("web1", ["tcp://x:1"])
        with pytest.raises(ConfigError, match="no directory to ask; set CHANLINK_DIRECTORY"):
            async with open_directory(identity=ALICE):
                pass
        monkeypatch.setenv("CHANLINK_DIRECTORY", text)
        async with open_directory(identity=BOB) as directory:
            assert [one.key for one in await directory.lookup("web1")] == [ALICE.public_key]


async def test_a_key_is_in_the_text_or_is_given_or_is_known(tmp_path: Path) -> None:
    async with served() as host:
        async with open_directory(host.address, identity=ALICE, peer=SERVER.public_key):
            pass
        async with open_directory(f"{host.address} {BOB.public_key}", identity=ALICE, peer=SERVER.public_key):
            pass
        with pytest.raises(WrongPeer):
            async with open_directory(f"{host.address} {BOB.public_key}", identity=ALICE):
                pass
        known = KnownPeers.load(tmp_path / "known", first_use=True)
        async with open_directory(host.address, identity=ALICE, trust=known) as directory:
            assert await directory.lookup("web1") == []


async def test_of_several_it_is_one_that_answers() -> None:
    async with served() as host:
        for _ in range(6):  # the order is another one each time
            async with open_directory(f"tcp://127.0.0.1:1, {host.address} {KEY}", identity=ALICE) as directory:
                assert await directory.lookup("web1") == []
    with pytest.raises(ConnectFailed):
        async with open_directory(f"tcp://127.0.0.1:1 {KEY},tcp://127.0.0.1:1 {KEY}", identity=ALICE):
            pass


async def test_a_pattern_is_as_in_a_shell() -> None:
    async with served() as host, host.directory() as directory:
        for name in ("web1", "web10", "web2", "Web3", "db1", "w"):
            await directory.register(name, ["tcp://x:1"])
        for pattern, names in [
            ("web*", ["web1", "web10", "web2"]),
            ("web?", ["web1", "web2"]),
            ("web[2-9]", ["web2"]),
            ("*1", ["db1", "web1"]),
            ("web1", ["web1"]),
            ("*", ["Web3", "db1", "w", "web1", "web10", "web2"]),
            ("mail*", []),
        ]:
            assert await names_matching(directory, pattern) == names
