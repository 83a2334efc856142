"""What `make capacity` measures can be measured: each work is done once, and hardly anything of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.ends import Pair
from tests.bench.meter import LINUX
from tests.bench.peers.ours_capacity import WORKS
from tests.bench.works.capacity import COSTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LINUX, reason="processor time and memory of another process are Linux's"),
]
LESS: dict[str, Any] = {"sessions": 3, "subscribers": 3, "seconds": 0.1, "cycles": 100}


def test_each_work_finds_a_figure_in_processes_of_its_own(tmp_path: Path) -> None:
    pair = Pair("ours_capacity", "asyncio", tmp_path)
    try:
        for cost in COSTS.values():
            count = 1_000_000 if cost.work.startswith("bytes") else 60
            options = {name: LESS.get(name, value) for name, value in cost.options.items()} | {"count": count}
            assert pair.work(cost.work, options).count >= 0
    finally:
        pair.close()
    assert {cost.work for cost in COSTS.values()} == set(WORKS)
