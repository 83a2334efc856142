"""The short form of ``make rolling``."""

from pathlib import Path

import anyio
import pytest

from tests.patience import PATIENCE

from .rolling import roll

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_servers_are_replaced_under_load_and_no_call_is_lost(
    anyio_backend: tuple[str, object], tmp_path: Path
) -> None:
    with anyio.fail_after(PATIENCE):
        seen = await roll(tmp_path, rate=200, servers=3, seconds=0.7, backend=anyio_backend[0], links=2)
    assert seen.lost == []
    assert set(seen.by_server) == {1, 2, 3}
