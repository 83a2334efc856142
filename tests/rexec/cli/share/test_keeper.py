"""The keeper of shared sessions, in this process, with a session that is not real."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples.rexec.cli.arguments import Options
from examples.rexec.cli.connecting import Destination, Disconnected
from examples.rexec.cli.share import keeper as module
from examples.rexec.cli.share.keeper import Keeper
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio
HERE = Destination("name", "tcp://127.0.0.1:1", None, None)
OPTIONS = Options(share_for=600.0)


class Session:
    """Open until it is lost."""

    def __init__(self) -> None:
        self.lost = anyio.Event()

    async def wait_closed(self) -> None:
        await self.lost.wait()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Those that were opened."""
    sessions: list[Session] = []

    @asynccontextmanager
    async def connected_to(where: Destination, options: Options) -> AsyncGenerator[Any, None]:
        if where.name == "nobody":
            raise Disconnected(where)
        sessions.append(Session())
        yield sessions[-1]

    monkeypatch.setattr(module, "connected_to", connected_to)
    return sessions


@asynccontextmanager
async def keeping(folder: Path) -> AsyncGenerator[tuple[Keeper, Path], None]:
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        keeper = Keeper(listening, str(path))
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keeper.run)
                await until(lambda: hasattr(keeper, "_tasks"))
                yield keeper, path
                keeper.stop()


async def test_calls_to_one_server_have_one_session(tmp_path: Path, opened: list[Session]) -> None:
    async with keeping(tmp_path) as (keeper, _):
        async with keeper.session(HERE, OPTIONS) as first, keeper.session(HERE, OPTIONS) as second:
            assert first is second
            assert keeper.describe()[0].split("\t")[:3] == ["name", "tcp://127.0.0.1:1", "2 running"]
        assert "idle, closed in" in keeper.describe()[0]
        async with keeper.session(HERE._replace(identity="other"), OPTIONS) as third:
            assert third is not first
    assert len(opened) == 2


async def test_one_that_was_lost_is_opened_anew(tmp_path: Path, opened: list[Session]) -> None:
    other = HERE._replace(identity="other")  # something is left to keep
    async with keeping(tmp_path) as (keeper, _), keeper.session(other, OPTIONS):
        async with keeper.session(HERE, OPTIONS):
            opened[1].lost.set()
            await until(lambda: len(keeper.describe()) == 1)
        async with keeper.session(HERE, OPTIONS):
            assert len(opened) == 3


async def test_one_that_can_not_be_opened_is_an_error_of_that_call(tmp_path: Path, opened: list[Session]) -> None:
    async with keeping(tmp_path) as (keeper, _), keeper.session(HERE, OPTIONS):
        with pytest.raises(Disconnected):
            async with keeper.session(HERE._replace(name="nobody"), OPTIONS):
                pass
        assert len(keeper.describe()) == 1


async def test_when_nothing_is_left_to_keep_it_ends_and_cannot_be_found(tmp_path: Path, opened: list[Session]) -> None:
    async with keeping(tmp_path) as (keeper, path):
        async with keeper.session(HERE, Options(share_for=0.0)):
            assert path.exists()
        await until(lambda: not path.exists())
