"""Servers that register, and clients that connect to them by name; the first message leaves with the connect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    Identity,
    KnownPeers,
    KnownPrekeys,
    Listener,
    Peer,
    Receiver,
    Session,
    Trust,
    connect,
    serve,
    service,
)
from chanlink.directory import Directory, Registration
from tests.patience import PATIENCE, until

from .hosting import Served, served, trust_file
from .made import ALICE, BOB, MALLORY

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
CLIENT = MALLORY


class Server:
    """One that answers with its name, and registers as web1."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def echo(self, requests: Receiver[Any], peer: Peer) -> None:
        async for request in requests:
            await request["reply"].send([self.name, request["say"]])

    @asynccontextmanager
    async def serving(self, directory: Directory, who: Identity) -> AsyncIterator[tuple[Listener, Registration]]:
        register = Registration(directory, "web1", life=3_600)
        services = {"echo": service(self.echo, early=True)}
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                where, trust = "tcp://127.0.0.1:0", Trust.of(CLIENT.public_key)
                await serve(services, where, identity=who, trust=trust, register=register, task_status=task_status)

            listener = await tasks.start(run)
            with anyio.fail_after(PATIENCE):
                await register.registered()
            yield listener, register
            tasks.cancel_scope.cancel()


async def ask(session: Session, say: object) -> Any:
    """One request, and its reply."""
    async with await session.open("echo") as requests:
        reply, replies = chanlink.pipe()
        await requests.send({"say": say, "reply": reply})
        with anyio.fail_after(PATIENCE):
            return await replies.receive()


def by_name(directory: Directory, path: Path, **options: Any) -> Any:
    """A connection of a client who knows nobody, and believes the directory."""
    trust = KnownPeers.load(path / "known_peers")
    options = {"identity": CLIENT, "trust": trust, "directory": directory, "trust_directory": True} | options
    return connect("chanlink://web1", **options)


@pytest.fixture
async def host() -> AsyncIterator[Served]:
    async with served() as host:
        yield host


async def test_who_was_never_there_sends_its_first_message_with_the_connect(host: Served, tmp_path: Path) -> None:
    async with (
        host.directory(ALICE) as ours,
        host.directory(CLIENT) as theirs,
        Server("one").serving(ours, ALICE),
        by_name(theirs, tmp_path, early=True, known_prekeys=KnownPrekeys()) as session,
    ):
        assert await ask(session, "hello") == ["one", "hello"]
        assert session.early == "taken"


async def test_without_a_word_of_the_directory_the_client_has_to_know_the_key(host: Served, tmp_path: Path) -> None:
    known = tmp_path / "known_peers"
    known.write_text(f"chanlink://web1 {ALICE.public_key}\n")
    async with host.directory(ALICE) as ours, host.directory(CLIENT) as theirs, Server("one").serving(ours, ALICE):
        options: dict[str, Any] = {"trust_directory": False, "early": True, "known_prekeys": KnownPrekeys()}
        async with by_name(theirs, tmp_path, **options) as session:
            assert await ask(session, 1) == ["one", 1]
            assert session.early == "taken"
        known.write_text(f"chanlink://web1 {BOB.public_key}\n")
        with pytest.raises(chanlink.WrongPeer):
            async with by_name(theirs, tmp_path, **options):
                pass


async def test_of_two_servers_the_first_message_goes_to_the_one_whose_prekey_it_is(tmp_path: Path) -> None:
    trust = trust_file(tmp_path / "trust", web1=ALICE, web1_and_web2=BOB, client=CLIENT)
    async with (
        served(trust=trust) as host,
        host.directory(ALICE) as first,
        host.directory(BOB) as second,
        host.directory(CLIENT) as theirs,
        Server("one").serving(first, ALICE),
        Server("two").serving(second, BOB),
    ):
        answered = set()
        prekeys = KnownPrekeys()
        with anyio.fail_after(PATIENCE):
            while len(answered) < 2:
                known = KnownPrekeys() if answered else prekeys
                async with by_name(theirs, tmp_path, early=True, known_prekeys=known) as session:
                    answered.add((await ask(session, 1))[0])
                    assert session.early == "taken"
        for _ in range(4):  # and what it has learnt from one is never sent to the other
            async with by_name(theirs, tmp_path, early=True, known_prekeys=prekeys) as session:
                await ask(session, 1)
                assert session.early == "taken"


async def test_where_one_of_two_servers_is_gone_the_other_one_answers(tmp_path: Path) -> None:
    trust = trust_file(tmp_path / "trust", web1=ALICE, web1_and_web2=BOB, client=CLIENT)
    async with (
        served(trust=trust) as host,
        host.directory(ALICE) as first,
        host.directory(BOB) as second,
        host.directory(CLIENT) as theirs,
        Server("two").serving(second, BOB),
    ):
        async with Server("one").serving(first, ALICE):
            [gone] = [one for one in await theirs.lookup("web1") if one.key == ALICE.public_key]
        await first.register("web1", gone.addresses, gone.services, prekeys=gone.prekeys)  # as if it had been killed
        assert len(await theirs.lookup("web1", fresh=True)) == 2
        for early in (True, False) * 4:
            options: dict[str, Any] = {"known_prekeys": KnownPrekeys()} if early else {}
            async with by_name(theirs, tmp_path, early=early, **options) as session:
                assert await ask(session, 1) == ["two", 1]


@pytest.mark.parametrize("prekeys", [b"\xc1", b"x" * 2_000, b""], ids=["bad", "long", "none"])
async def test_what_is_no_prekey_is_as_if_it_were_not_there(host: Served, prekeys: bytes, tmp_path: Path) -> None:
    async with (
        host.directory(ALICE) as ours,
        host.directory(CLIENT) as theirs,
        Server("one").serving(ours, ALICE) as (listener, _),
    ):
        await ours.register("web1", listener.addresses, prekeys=prekeys)
        async with by_name(theirs, tmp_path, early=True, known_prekeys=KnownPrekeys()) as session:
            assert await ask(session, 1) == ["one", 1]
            assert session.early == "none"


async def test_a_prekey_of_somebody_else_beside_an_entry_is_not_used(tmp_path: Path) -> None:
    """Whoever registers can put there what it likes: it gets no message of ours that is meant for another."""
    trust = trust_file(tmp_path / "trust", web1=ALICE, web2=BOB, client=CLIENT)
    async with (
        served(trust=trust) as host,
        host.directory(ALICE) as ours,
        host.directory(BOB) as others,
        host.directory(CLIENT) as theirs,
        Server("one").serving(ours, ALICE) as (listener, _),
    ):
        await others.register("web2", ["tcp://127.0.0.1:1"], prekeys=(await theirs.lookup("web1"))[0].prekeys)
        [entry] = await theirs.lookup("web2")
        await ours.register("web1", listener.addresses, prekeys=b"")
        assert await theirs.lookup("web1", fresh=True)
        with pytest.raises(chanlink.ConnectFailed):
            trusting = KnownPeers.load(tmp_path / "known_peers")
            options: dict[str, Any] = {"identity": CLIENT, "trust": trusting, "directory": theirs}
            async with connect(
                "chanlink://web2", trust_directory=True, early=True, known_prekeys=KnownPrekeys(), **options
            ):
                pass
        assert entry.key == BOB.public_key
        assert not listener.sessions


async def test_a_server_that_moves_is_found_at_its_new_place_while_what_is_open_goes_on(
    host: Served, tmp_path: Path
) -> None:
    """The same identity at another address: the first client keeps its channel, the second one comes at once."""
    services = {"echo": service(Server("new").echo, early=True)}
    place: dict[str, Any] = {"identity": ALICE, "trust": Trust.of(CLIENT.public_key), "services": services}
    async with (
        host.directory(ALICE) as ours,
        host.directory(CLIENT) as theirs,
        Server("old").serving(ours, ALICE) as (_, register),
        by_name(theirs, tmp_path) as first,
        await first.open("echo") as requests,
        chanlink.listen("tcp://127.0.0.1:0", **place) as moved,
    ):
        register.move(moved)
        with anyio.fail_after(PATIENCE):
            while (await theirs.lookup("web1", fresh=True))[0].addresses != tuple(moved.addresses):
                await anyio.sleep(0.01)
        async with by_name(theirs, tmp_path, early=True, known_prekeys=KnownPrekeys()) as second:
            assert await ask(second, 2) == ["new", 2]
            assert second.early == "taken"
        reply, replies = chanlink.pipe()
        await requests.send({"say": 1, "reply": reply})
        assert await replies.receive() == ["old", 1]
        await until(lambda: not moved.sessions)
