"""`via:` addresses: how they are written, and what they are good for."""

import pytest

from chanlink import AddressError, ConfigError
from chanlink.transport.carried import Means
from chanlink.transport.target import parse_remote, parse_target
from chanlink.transport.through import Via, addresses_via

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "written", "service"),
    [
        ("via:gw/build", "via:gw:9323/build", "via:build"),
        ("via:gw.example:7/b-1.x", "via:gw.example:7/b-1.x", "via:b-1.x"),
        ("via:[::1]:7/build", "via:[::1]:7/build", "via:build"),
    ],
)
def test_it_is_written_in_one_way(text: str, written: str, service: str) -> None:
    via = parse_remote(text)
    assert isinstance(via, Via)
    assert (str(via), via.service, parse_target(written)) == (written, service, via)


@pytest.mark.parametrize(
    "text",
    [
        "via:",
        "via:gw",
        "via:gw/",
        "via:/build",
        "via:gw/a b",
        "via:gw:99999/b",
        "via:a/b/c",
        "via:gw/-x",
        "via:gw/" + "x" * 201,
    ],
)
def test_what_is_no_such_address(text: str) -> None:
    with pytest.raises(AddressError) as failed:
        parse_target(text)
    assert "via:" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_server_is_reached_by_each_gateway_that_has_such_an_address() -> None:
    assert addresses_via(["tcp://a:1", "unix:/x", 7, "chanlink://b", "tcp://b"], "n") == ["via:a:1/n", "via:b:9323/n"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_else_than_connect_can_connect_to_it() -> None:
    via = parse_target("via:gw/build")
    assert isinstance(via, Via)
    with pytest.raises(ConfigError, match=r"chanlink\.connect"):
        await via.connect_with(Means())
