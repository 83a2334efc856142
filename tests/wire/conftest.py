"""Two muxes with bytes cut in two ways, and channels between them."""

from typing import Any

import pytest

from chanlink.wire.stream import Stream

from .muxes import Pair, byte_by_byte, whole

CUTS = [pytest.param(whole, id="whole"), pytest.param(byte_by_byte, id="byte by byte")]
CHANNELS: list[Any] = [
    pytest.param({"kind": "receiver"}, id="the opener sends"),
    pytest.param({"kind": "sender"}, id="the acceptor sends"),
    pytest.param({"kind": "receiver", "by_server": True}, id="the server opens and sends"),
    pytest.param({"kind": "sender", "by_server": True}, id="the server opens, the client sends"),
]


@pytest.fixture(params=CUTS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(cut=request.param)


@pytest.fixture(params=CHANNELS)
def channel(pair: Pair, request: pytest.FixtureRequest) -> tuple[Stream, Stream]:
    return pair.channel(**request.param)
