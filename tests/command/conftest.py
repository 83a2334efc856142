"""Homes with keys, servers that are asked, and the command as a call."""

from collections.abc import Iterator

import pytest

from .calls import ANYWHERE, Keys, call, make_keys, serving

__all__ = ["call"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(keys: Keys) -> Iterator[str]:
    """The address of a server that is measured against, and may be looked at."""
    with serving(keys, "bench", "--listen", ANYWHERE, "--inspect") as server:
        yield server.address


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started run on each of them."""
    monkeypatch.setenv("CHANLINK_EVENT_LOOP", request.param)
