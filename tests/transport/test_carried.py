"""What carries bytes by itself is an address as any other: tried, named, and believed in whom it has authenticated."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

import chanlink
from chanlink import ConfigError, ConnectFailed, Identity, KnownPeers, Trust, UntrustedPeer, WrongPeer
from chanlink.transport.address import parse_address
from chanlink.transport.base import BufferedTransport, Transport
from chanlink.transport.carried import Carrier, CarrierAttribute, Means
from chanlink.transport.reaching import connect_socket

pytestmark = pytest.mark.anyio

ALICE, SERVER, OTHER = (Identity.generate(name) for name in ("alice", "server", "other"))


class Vouching(BufferedTransport):
    """It knows who is there."""

    def __init__(self, below: ByteStream, key: str) -> None:
        super().__init__(below)
        self._key = key

    @property
    def extra_attributes(self) -> Any:
        return {**super().extra_attributes, CarrierAttribute.vouched_key: lambda: self._key}


class Carried(Carrier):
    """A socket, by a carrier of the test's own."""

    def __init__(self, address: str, name: str = "carried://there", vouched: str = "") -> None:
        self.address, self.name, self.vouched = address, name, vouched
        self.means: list[Means] = []

    def __str__(self) -> str:
        return self.name

    async def connect_with(self, means: Means) -> Transport:
        self.means.append(means)
        stream = await connect_socket(parse_address(self.address))
        return Vouching(stream, self.vouched) if self.vouched else stream


@pytest.fixture
async def listener() -> Any:
    async with chanlink.listen(
        "tcp://127.0.0.1:0", identity=SERVER, trust=Trust.of(ALICE.public_key), services={}
    ) as listener:
        yield listener


async def test_it_is_named_in_known_peers_by_its_text(listener: Any, tmp_path: Path) -> None:
    carrier, known = Carried(listener.addresses[0]), tmp_path / "known_peers"
    known.write_text(f"carried://there {SERVER.public_key}\n")
    async with chanlink.connect(carrier, identity=ALICE, trust=KnownPeers.load(known)) as session:
        assert session.peer.key == SERVER.public_key
    assert carrier.means[0].key == str(ALICE.public_key)
    known.write_text(f"carried://there {OTHER.public_key}\n")
    with pytest.raises(WrongPeer):
        async with chanlink.connect(carrier, identity=ALICE, trust=KnownPeers.load(known)):
            pass


async def test_a_pattern_of_hosts_is_none_for_it(listener: Any, tmp_path: Path) -> None:
    known = tmp_path / "known_peers"
    known.write_text(f"* {SERVER.public_key}\n")
    with pytest.raises(UntrustedPeer):
        async with chanlink.connect(Carried(listener.addresses[0]), identity=ALICE, trust=KnownPeers.load(known)):
            pass


async def test_one_without_a_name_needs_the_key(listener: Any) -> None:
    carrier = Carried(listener.addresses[0], "")
    with pytest.raises(ConfigError, match="peer="):
        async with chanlink.connect(carrier, identity=ALICE):
            pass
    async with chanlink.connect(carrier, identity=ALICE, peer=SERVER.public_key) as session:
        assert session.peer.key == SERVER.public_key


async def test_whom_it_vouches_for_is_the_server_and_nobody_else(listener: Any, tmp_path: Path) -> None:
    known = tmp_path / "known_peers"
    known.write_text(f"carried://there {OTHER.public_key}\n")
    good = Carried(listener.addresses[0], vouched=str(SERVER.public_key))
    async with chanlink.connect(good, identity=ALICE, trust=KnownPeers.load(known)) as session:
        assert session.peer.key == SERVER.public_key
    bad = Carried(listener.addresses[0], vouched=str(OTHER.public_key))
    with pytest.raises(WrongPeer):
        async with chanlink.connect(bad, identity=ALICE, trust=KnownPeers.load(known)):
            pass
    assert known.read_text() == f"carried://there {OTHER.public_key}\n"  # it is believed for a session, not for good


@pytest.mark.parametrize("who", ["peer", "trust"])
async def test_whom_the_caller_names_it_has_to_be_as_well(listener: Any, who: str) -> None:
    carrier = Carried(listener.addresses[0], vouched=str(SERVER.public_key))
    other: dict[str, Any] = {"peer": OTHER.public_key} if who == "peer" else {"trust": Trust.of(OTHER.public_key)}
    with pytest.raises((WrongPeer, UntrustedPeer)):
        async with chanlink.connect(carrier, identity=ALICE, **other):
            pass


async def test_who_is_revoked_is_refused_whoever_vouches(listener: Any, tmp_path: Path) -> None:
    known = tmp_path / "known_peers"
    known.write_text(f"@revoked * {SERVER.public_key}\n")
    carrier = Carried(listener.addresses[0], vouched=str(SERVER.public_key))
    with pytest.raises(UntrustedPeer):
        async with chanlink.connect(carrier, identity=ALICE, trust=KnownPeers.load(known)):
            pass


async def test_it_is_tried_again_as_long_as_nobody_is_there() -> None:
    carrier = Carried("tcp://127.0.0.1:1")
    with pytest.raises(ConnectFailed):
        async with chanlink.connect(carrier, identity=ALICE, peer=SERVER.public_key, wait=0.2):
            pass
    assert len(carrier.means) > 1


async def test_its_connect_is_that_of_anyio(listener: Any) -> None:
    stream = await Carried(listener.addresses[0]).connect()
    await anyio.aclose_forcefully(stream)
