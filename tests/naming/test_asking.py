"""One question to a directory, and what is made of its answers."""

import logging

import pytest

from chanlink import CallRefused, ConnectFailed, KnownPeers, Trust, UntrustedPeer, WrongPeer
from chanlink.directory import MemoryStore, Store
from chanlink.directory.entries import Signed
from chanlink.naming.asking import ask
from chanlink.naming.setting import Server
from tests.directory.hosting import SERVER, Served, served
from tests.directory.made import ALICE, BOB, new, now_serial, signed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


def server_of(host: Served) -> Server:
    return Server(host.address, SERVER.public_key)


class Dishonest:
    """A directory that tells what it likes."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def __call__(self) -> Store:
        return self.store

    async def tell(self, entry: Signed, key: bytes) -> None:
        """As of this key, unchecked."""
        await self.store.put(new("web1", key, entry=entry.entry, sshsig=entry.sshsig, listed=True))


async def test_what_is_registered_is_told() -> None:
    async with served() as host:
        async with host.directory(BOB) as theirs:
            made = await theirs.register("web1", ["tcp://10.0.0.1:9323"], ["echo"], life=600, prekeys=b"beside")
        [found] = await ask(server_of(host), "web1", ALICE, None)
        assert found == made
        assert 590 < found.expires_in <= 600
        assert await ask(server_of(host), "web2", ALICE, None) == []


async def test_a_directory_has_its_own_key_by_the_text_or_by_known_peers() -> None:
    async with served() as host:
        with pytest.raises(WrongPeer):
            await ask(Server(host.address, BOB.public_key), "web1", ALICE, None)
        nameless = Server(host.address, None)
        for trust in (None, KnownPeers.load()):
            with pytest.raises(UntrustedPeer, match="add this line"):
                await ask(nameless, "web1", ALICE, trust)
        KnownPeers.load().add(host.address, SERVER.public_key)
        assert await ask(nameless, "web1", ALICE, None) == []


async def test_a_directory_that_is_not_there_or_not_for_us_is_an_error() -> None:
    async with served() as host:
        gone = server_of(host)
        host.trust = Trust.nobody()
    with pytest.raises(ConnectFailed):
        await ask(gone, "web1", ALICE, None)
    async with served(trust=Trust.anyone(["other"])) as host:
        with pytest.raises(CallRefused):
            await ask(server_of(host), "web1", ALICE, None)


async def test_what_is_not_good_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    good = await signed(ALICE)
    forged = good._replace(sshsig=(await signed(BOB)).sshsig)
    old = await signed(ALICE, serial=now_serial() - 7_200 * 10**9)
    another = await signed(ALICE, "web2")
    dishonest = Dishonest()
    async with served(dishonest) as host:
        for number, bad in enumerate([forged, old, another]):
            await dishonest.tell(bad, bytes([number]) * 32)
        await dishonest.tell(good, b"g" * 32)
        with caplog.at_level(logging.WARNING, "chanlink.naming"):
            [found] = await ask(server_of(host), "web1", ALICE, None)
    assert (found.name, found.key) == ("web1", ALICE.public_key)
    assert "its signature is wrong" in caplog.text
    assert "it was over" in caplog.text
