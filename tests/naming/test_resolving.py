"""A directory that a text names: which of several is asked, and what is kept of its answers."""

import random
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chanlink import CallError, ConfigError, ConnectFailed, KnownPeers, SessionError, Trust, UntrustedPeer
from chanlink.naming import resolving
from chanlink.naming.cache import Cache
from chanlink.naming.resolving import Configured
from tests.directory.hosting import SERVER, Served, served
from tests.directory.made import ALICE, BOB

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
PLACE, ELSEWHERE = ("tcp://10.0.0.1:9323",), ("tcp://10.0.0.2:9323",)
NOBODY = f"tcp://127.0.0.1:1 {SERVER.public_key}"


@pytest.fixture
async def host() -> AsyncIterator[Served]:
    async with served() as host:
        yield host


def text_of(host: Served) -> str:
    return f"{host.address} ssh-ed25519 {str(SERVER.public_key).split()[1]}"


async def register(host: Served, addresses: tuple[str, ...] = PLACE, name: str = "web1") -> None:
    async with host.directory(BOB) as directory:
        await directory.register(name, addresses)


async def places(text: str | None, name: str = "web1", fresh: bool = False) -> list[tuple[str, ...]]:
    return [tuple(one.addresses) for one in await Configured(text, ALICE).lookup(name, fresh=fresh)]


async def test_a_text_or_else_the_environment_says_which_directory(
    host: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(host)
    assert await places(text_of(host)) == [PLACE]
    with pytest.raises(ConfigError, match="chanlink://web1: no directory to ask; set CHANLINK_DIRECTORY"):
        await places(None)
    monkeypatch.setenv("CHANLINK_DIRECTORY", text_of(host))
    assert await places(None) == [PLACE]
    monkeypatch.setenv("CHANLINK_DIRECTORY", "dir")
    for text, begins in ((None, "CHANLINK_DIRECTORY: "), ("dir", "directory: ")):
        with pytest.raises(ConfigError, match="is no address") as caught:
            await places(text)
        assert str(caught.value).startswith(begins)


async def test_what_was_told_is_kept_for_all_processes_until_it_is_asked_for_anew(host: Served) -> None:
    await register(host)
    assert await places(text_of(host)) == [PLACE]
    [kept] = Cache.default().find(text_of(host), "web1")
    assert (kept.key, kept.addresses) == (BOB.public_key, PLACE)
    assert time.time() < kept.until <= time.time() + 900
    await register(host, ELSEWHERE)
    assert await places(text_of(host)) == [PLACE]
    assert await places(text_of(host), fresh=True) == [ELSEWHERE]
    assert await places(text_of(host)) == [ELSEWHERE]
    await host.stop()
    assert await places(text_of(host)) == [ELSEWHERE]
    with pytest.raises(ConnectFailed):
        await places(text_of(host), fresh=True)
    await host.start()


async def test_that_nobody_has_a_name_is_not_kept(host: Served) -> None:
    assert await places(text_of(host)) == []
    await register(host)
    assert await places(text_of(host)) == [PLACE]


async def test_another_directory_may_mean_another_server(host: Served) -> None:
    await register(host)
    async with served() as other:
        await register(other, ELSEWHERE)
        assert await places(text_of(host)) == [PLACE]
        assert await places(text_of(other)) == [ELSEWHERE]


async def test_an_older_answer_than_the_one_before_is_not_believed(host: Served) -> None:
    await register(host)
    text = text_of(host)
    await places(text)
    [kept] = Cache.default().find(text, "web1")
    Cache.default().keep(text, "web1", [kept._replace(serial=kept.serial + 1)])
    assert await places(text, fresh=True) == []


async def test_of_several_directories_one_that_answers_is_asked(host: Served) -> None:
    await register(host)
    for text in (f"{NOBODY},{text_of(host)}", f"{text_of(host)}, {NOBODY}"):
        for _ in range(8):  # the order is another one each time
            assert await places(text, fresh=True) == [PLACE]
    with pytest.raises(ConnectFailed, match="refused"):
        await places(f"{NOBODY},{NOBODY}")


async def test_a_directory_that_says_nothing_is_not_waited_for_where_there_are_others(
    host: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "ONE_TRY", 0.2)
    monkeypatch.setattr(random, "shuffle", lambda servers: None)
    await register(host)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert await places(f"{mute},{mute},{text_of(host)}") == [PLACE]


async def test_problems_are_those_of_the_last_one_that_was_asked() -> None:
    async with served(trust=Trust.anyone(["other"])) as host:
        with pytest.raises((SessionError, CallError)):
            await places(text_of(host))


async def test_known_peers_of_the_caller_say_the_key_of_the_directory_too(host: Served, tmp_path: Path) -> None:
    await register(host)
    known = KnownPeers.load(tmp_path / "peers", first_use=True)
    assert await Configured(host.address, ALICE, known).lookup("web1")
    assert KnownPeers.load(tmp_path / "peers").find(host.address, SERVER.public_key)
    with pytest.raises(UntrustedPeer):
        await Configured(host.address, ALICE, Trust.of(SERVER.public_key)).lookup("web2")
