"""Where to listen: a text, what stands for one, or a listener of the program's."""

from typing import Any

import anyio
import pytest

from chanlink import AddressError
from chanlink.transport.accepting import Listening
from chanlink.transport.address import Address
from chanlink.transport.carried import CarrierListener
from chanlink.transport.given import GivenListener
from chanlink.transport.listen import ListeningSockets
from chanlink.transport.listening_at import listening_at, parse_listenable

from .test_given import Slow, local

pytestmark = pytest.mark.anyio


class Carried(CarrierListener):
    """Listens by a listener of the test's."""

    def __init__(self, made: Listening) -> None:
        self.made = made
        self.shared: list[bool] = []

    async def listening(self, *, shared: bool = False) -> Listening:
        self.shared.append(shared)
        return self.made


def test_addresses_of_sockets_are_read_as_ever() -> None:
    assert parse_listenable("tcp://127.0.0.1:0") == Address("127.0.0.1", 0)
    assert parse_listenable("unix:/s") == Address("", 0, "/s")
    for text in "chanlink://web1", "http://host", "", "tcp://":
        with pytest.raises(AddressError):
            parse_listenable(text)
    with pytest.raises(TypeError, match="address must be str"):
        parse_listenable(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [False, True])
async def test_each_kind_listens_in_its_way(shared: bool) -> None:
    sockets: Any = await listening_at(Address("127.0.0.1", 0), shared=shared)
    assert isinstance(sockets, ListeningSockets)
    carried = Carried(sockets)
    assert await listening_at(carried, shared=shared) is sockets
    assert carried.shared == [shared]
    sockets.close()
    given = await listening_at(Slow(below := await local()), shared=shared)
    assert isinstance(given, GivenListener)
    await anyio.aclose_forcefully(below)
