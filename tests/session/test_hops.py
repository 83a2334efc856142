"""What is a hop, and what is a way."""

from typing import Any

import pytest

from chanlink import AddressError, ConfigError, Hop
from chanlink.session.hops import MOST, read_way
from chanlink.testing import session_pair

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.mark.parametrize(
    ("via", "problem"),
    [
        ("tcp://gw", TypeError),
        (None, TypeError),
        ([7], TypeError),
        ({"tcp://gw"}, TypeError),
        (["nothing"], AddressError),
        (["tcp://gw"] * (MOST + 1), ConfigError),
    ],
    ids=["a text", "none", "a number", "a set", "no address", "too many"],
)
def test_what_is_no_way(via: Any, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        read_way(via)


@pytest.mark.parametrize("arguments", [{"peer": "ssh-ed25519 AAAA"}, {"identity": "file"}], ids=["peer", "identity"])
def test_what_is_no_hop(arguments: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(arguments))):
        Hop("tcp://gw", **arguments)
    with pytest.raises(TypeError, match="address"):
        Hop(7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one"):
        Hop()


def test_a_hop_is_written_as_its_addresses() -> None:
    hop = Hop("tcp://a", "via:b/c")
    assert str(hop) == "tcp://a or via:b/c"
    assert "tcp://a" in repr(hop)
    (read,) = read_way(["tcp://a"])
    assert str(read) == "tcp://a"


@one_backend
async def test_a_session_is_the_nearest_hop_or_none() -> None:
    async with session_pair() as (session, _):
        assert read_way([session]) == (session,)
        with pytest.raises(ConfigError, match="only be the first"):
            read_way(["tcp://gw", session])
