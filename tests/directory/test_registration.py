"""A server's entry, kept fresh for as long as it serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import CancelScope

from chanlink import ConfigError, Listener, Peer, Receiver, Trust, serve
from chanlink.directory import Directory, Entry, NameTaken, NotAllowed, Registration
from chanlink.directory import registration as module
from chanlink.directory.memory import MemoryStore
from tests.patience import PATIENCE, until

from .hosting import Served, served, trust_file
from .made import ALICE, BOB, MALLORY

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
EVERYWHERE = "tcp://0.0.0.0:0"
HERE = "tcp://127.0.0.1:0"


async def echo(requests: Receiver[Any], peer: Peer) -> None:
    async for _ in requests:
        pass


@asynccontextmanager
async def serving(
    register: Registration, address: str = HERE, **options: Any
) -> AsyncIterator[tuple[Listener, CancelScope]]:
    """A server that registers; the scope is that of all of it."""
    filled = {"identity": ALICE, "trust": Trust.nobody(), "register": register} | options
    async with anyio.create_task_group() as tasks:

        async def run(*, task_status: Any) -> None:
            await serve({"echo": echo, "time": echo}, address, task_status=task_status, **filled)

        listener = await tasks.start(run)
        yield listener, tasks.cancel_scope
        tasks.cancel_scope.cancel()


async def found(directory: Directory, name: str = "web1") -> Entry:
    """What the directory says, once it says something."""
    with anyio.fail_after(PATIENCE):
        while not (entries := await directory.lookup(name, fresh=True)):
            await anyio.sleep(0.01)
    [entry] = entries
    return entry


async def gone(directory: Directory, name: str = "web1") -> None:
    with anyio.fail_after(PATIENCE):
        while await directory.lookup(name, fresh=True):
            await anyio.sleep(0.01)


@pytest.fixture
async def host() -> AsyncIterator[Served]:
    async with served() as host:
        yield host


async def test_a_server_is_found_as_long_as_it_serves(host: Served) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs:
        register = Registration(ours, "web1", life=600)
        async with serving(register) as (listener, _):
            entry = await found(theirs)
            assert entry.addresses == tuple(listener.addresses)
            assert entry.services == ("echo", "time")
            assert entry.key == ALICE.public_key
            assert 0 < entry.expires_in <= 600
            with anyio.fail_after(PATIENCE):
                assert await register.registered() == entry
            assert register.problem is None
            assert "registered" in repr(register)
        assert register.entry is None
        await gone(theirs)


@pytest.mark.slow
async def test_an_entry_is_renewed_before_it_ends(host: Served) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs, serving(Registration(ours, "web1", life=3)):
        first = await found(theirs)
        serials = {first.serial}
        with anyio.fail_after(PATIENCE):
            while len(serials) < 4:  # longer than its life
                [entry] = await theirs.lookup("web1", fresh=True)
                serials.add(entry.serial)
                await anyio.sleep(0.01)


async def test_a_server_that_moves_says_so_at_once(host: Served) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs:
        register = Registration(ours, "web1", life=3_600)
        async with serving(register):
            await found(theirs)
            register.move("tcp://10.0.0.7:9323")
            with anyio.fail_after(PATIENCE):
                while (await found(theirs)).addresses != ("tcp://10.0.0.7:9323",):
                    await anyio.sleep(0.01)
            with pytest.raises(ConfigError):
                register.move()


async def test_addresses_and_services_may_be_others_than_those_of_the_listener(host: Served) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs:
        register = Registration(ours, "web1", addresses=["tcp://web1.example"], services=["echo"])
        async with serving(register, EVERYWHERE):
            entry = await found(theirs)
            assert (entry.addresses, entry.services) == (("tcp://web1.example",), ("echo",))


async def refusal(register: Registration, address: str = HERE, **options: Any) -> None:
    """Serve until the directory refuses."""
    filled = {"identity": ALICE, "trust": Trust.nobody(), "register": register} | options
    with anyio.fail_after(PATIENCE):
        await serve({"echo": echo}, address, **filled)


@pytest.mark.parametrize("address", [EVERYWHERE, "unix:"])
async def test_an_address_that_nobody_elsewhere_can_use_is_a_mistake(
    host: Served, address: str, tmp_path: Path
) -> None:
    if address == "unix:":
        address = f"unix:{tmp_path}/s"
    async with host.directory() as ours:
        with pytest.raises(ConfigError, match="nobody elsewhere can connect to"):
            await refusal(Registration(ours, "web1"), address)


async def test_the_directory_and_the_server_have_the_same_identity(host: Served) -> None:
    async with host.directory(BOB) as ours:
        with pytest.raises(ConfigError, match="the same identity"):
            await refusal(Registration(ours, "web1"))


async def test_a_name_that_another_has_ends_the_server_before_it_begins(host: Served) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs:
        await theirs.register("web1", ["tcp://10.0.0.1"])
        register = Registration(ours, "web1")
        told: list[Exception] = []

        async def wait() -> None:
            try:
                await register.registered()
            except NameTaken as exc:
                told.append(exc)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with pytest.raises(NameTaken):
                await refusal(register)
        assert len(told) == 1
        with pytest.raises(NameTaken):
            await register.registered()


async def test_a_name_that_the_trust_file_gives_to_others_does_too(tmp_path: Path) -> None:
    trust = trust_file(tmp_path / "trust", web2=ALICE)
    async with served(trust=trust) as host, host.directory() as ours:
        with pytest.raises(NotAllowed):
            await refusal(Registration(ours, "web1"))


async def test_a_name_that_is_lost_later_leaves_the_server_as_it_is(
    host: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs:
        register = Registration(ours, "web1", life=3)  # its name is somebody else's before it is renewed
        async with serving(register) as (listener, _):
            await found(theirs)
            await ours.remove("web1")
            await theirs.register("web1", ["tcp://10.0.0.1"])
            await until(lambda: isinstance(register.problem, NameTaken))
            assert listener.addresses
            assert "web1 is not registered in its directory now" in caplog.text
            await theirs.remove("web1")
            await until(lambda: register.problem is None)
            assert (await found(theirs)).key == ALICE.public_key


async def test_a_directory_that_is_away_is_waited_for(host: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPREAD", 0.0)
    await host.stop()
    async with host.directory() as ours, serving(Registration(ours, "web1")) as (listener, _):
        assert listener.addresses
        await host.start()
        async with host.directory(BOB) as theirs:
            await found(theirs)


async def test_a_directory_that_was_restarted_and_has_forgotten_all_is_told_again(
    host: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPREAD", 0.0)
    async with (
        host.directory() as ours,
        host.directory(BOB) as theirs,
        serving(Registration(ours, "web1", life=3_600)),
    ):
        first = await found(theirs)
        await host.stop()
        host.store = MemoryStore
        await host.start()
        assert (await found(theirs)).serial > first.serial


async def test_a_server_that_drains_is_not_found_any_more(host: Served) -> None:
    async with host.directory() as ours, host.directory(BOB) as theirs:
        register = Registration(ours, "web1")
        async with serving(register) as (listener, _):
            await found(theirs)
            await register.leave()
            await register.leave()
            await gone(theirs)
            assert listener.addresses


async def test_a_server_that_stops_does_not_wait_for_a_directory_that_is_away(host: Served) -> None:
    async with host.directory() as ours:
        register = Registration(ours, "web1")
        async with serving(register):
            await register.registered()
            await host.stop()
            await until(lambda: ours.link.state != "ready")


async def test_a_server_that_outlives_the_block_of_its_directory_stops_without_a_word(host: Served) -> None:
    async with host.directory() as ours:
        register = Registration(ours, "web1", addresses=["tcp://10.0.0.1"])
    register._keeps = CancelScope()
    await register.leave()


async def test_an_exception_of_the_server_leaves_it_as_it_is(host: Served) -> None:
    async with host.directory() as ours:
        with pytest.raises(KeyError):
            async with listening(Registration(ours, "web1")):
                raise KeyError


@asynccontextmanager
async def listening(register: Registration) -> AsyncIterator[None]:
    from chanlink import listen

    async with listen(HERE, identity=ALICE, trust=Trust.nobody()) as listener, register.keeping(listener, ALICE, ()):
        yield


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ({"name": "web 1"}, ConfigError),
        ({"name": 7}, TypeError),
        ({"life": 0}, ConfigError),
        ({"life": 3_601}, ConfigError),
        ({"life": "1"}, TypeError),
        ({"addresses": "tcp://10.0.0.1"}, TypeError),
        ({"services": [7]}, TypeError),
        ({"directory": "tcp://10.0.0.1"}, TypeError),
    ],
    ids=str,
)
async def test_arguments_are_checked_at_once(host: Served, rest: dict[str, Any], error: type[Exception]) -> None:
    filled: dict[str, Any] = {"directory": host.directory(MALLORY), "name": "web1"} | rest
    with pytest.raises(error):
        Registration(**filled)
