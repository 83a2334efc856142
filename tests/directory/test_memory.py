"""`MemoryStore`, besides what all stores do (test_store.py)."""

from typing import Any

import pytest

from chanlink.directory.memory import MemoryStore

from .made import KEY, new

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@pytest.mark.parametrize("options", [{"most_names": "3"}, {"names_per_key": None}])
def test_options_have_types(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        MemoryStore(**options)


async def test_it_keeps_nothing_of_names_that_come_and_go() -> None:
    async with MemoryStore() as store:
        for number in range(200):
            await store.put(new(f"web{number % 50}"))
            await store.remove(f"web{number % 50}", KEY, False)
        assert not [*store._owners, *store._entries, *store._names_of]
