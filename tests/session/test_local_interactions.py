"""What is done over sessions and in pairs with other features, over sessions that a daemon has handed over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

import chanlink
from chanlink import ChannelRefused, HandshakeError, Local, ServerTooOld, blocking
from chanlink.daemon import settings
from chanlink.daemon.folder import KEY
from chanlink.observing.counting import FAMILIES, Counts
from chanlink.patterns import follow
from tests.daemon.places import US, Host
from tests.patience import until
from tests.project.interactions import (
    BLOCKING_USES,
    CLIENT,
    OPENED,
    ORG,
    SERVER,
    TRUST,
    USES,
    Place,
    ask_once,
    old_peer,
)
from tests.security.keys.credentials import save

from .endpoints import refusal

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.usefixtures("one_suite"),
]

SERVICES = {"types": "ask", "calls": "works", "broadcast": "news", "queue": "jobs", "watch": "state"}


@asynccontextmanager
async def daemon_for(place: Place, address: str) -> AsyncIterator[Any]:
    """A daemon that knows this address as ``web1``, and has the client's key: what makes a `Local` for a service."""
    host = Host(place.folder / "machine")
    file = host.folder.path / "users" / US / KEY
    for each in (file, file.with_name(f"{KEY}.pub")):
        each.unlink()
    CLIENT.save(file)
    if "credentials" in place.features:
        save(ORG.issue(CLIENT.public_key, "client"), file)
    for service in SERVICES.values():
        settings.add_service(host.folder.settings, settings.Service(service))
    host.know(web1=(address, SERVER.public_key))
    async with host.running():
        yield lambda service: Local("web1", service=service, folder=host.run)


@asynccontextmanager
async def placed(features: set[str], folder: Path) -> AsyncIterator[tuple[Place, Any]]:
    (folder / "machine").mkdir()
    place = Place(features, folder)
    async with place.listening() as address, daemon_for(place, address) as local:
        yield place, local


@pytest.mark.parametrize("name", sorted(USES))
async def test_whatever_the_service_is_made_of_a_daemon_may_connect_to_it(name: str, tmp_path: Path) -> None:
    """Over a session, and from a thread."""
    async with placed({name}, tmp_path) as (place, local):
        async with chanlink.connect(local(SERVICES[name])) as place.session:
            if name != "watch":  # which is changed by another one
                await USES[name](place)
            else:
                async with await follow(place.session, "state", int) as state:
                    assert await state.receive() == 1
            assert (await refusal(place.session, "note")).code == "no-such-service"
        if name != "watch":
            await anyio.to_thread.run_sync(partial(from_a_thread, place, local(SERVICES[name]), name))


def from_a_thread(place: Place, local: Local, name: str) -> None:
    with blocking.connect(local) as session:
        BLOCKING_USES[name](place, session)


async def test_what_comes_over_such_a_session_goes_on_over_another(tmp_path: Path) -> None:
    async with placed({"relay"}, tmp_path) as (_, local), chanlink.connect(local("ask")) as session:
        await ask_once(session)


async def test_a_server_that_drains_refuses_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    place = Place(set(), tmp_path)
    async with (
        place.serving() as handlers,
        chanlink.listen(place.address, identity=SERVER, trust=TRUST, services=handlers) as listener,
        daemon_for(place, place.address) as local,
        chanlink.connect(local("ask")) as session,
    ):
        await ask_once(session)
        listener.sessions[0].drain()
        await until(lambda: session.state == "draining")
        with pytest.raises(ChannelRefused, match="draining"):
            await session.open("ask")


async def test_an_authority_may_vouch_for_the_key_that_the_daemon_keeps(tmp_path: Path) -> None:
    async with placed({"credentials"}, tmp_path) as (_, local), chanlink.connect(local("ask")) as session:
        await ask_once(session)


async def test_instruments_are_told_as_ever(tmp_path: Path) -> None:
    counts = Counts()
    async with (
        placed(set(), tmp_path) as (_, local),
        chanlink.connect(local("ask"), instruments=[counts]) as session,
    ):
        await ask_once(session)
    await until(lambda: not any(sum(counts.samples(one).values()) for one in FAMILIES if one.kind == "gauge"))
    assert sum(counts.samples(OPENED).values())


async def test_a_server_of_version_0_1_is_too_old_for_a_daemon(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    place = Place(set(), tmp_path)
    async with old_peer(place, "serve", place.address) as said, daemon_for(place, place.address) as local:
        assert await anext(said) == "ready"
        with pytest.raises(ServerTooOld):
            async with chanlink.connect(local("ask")):
                pass


async def test_a_server_with_a_pre_shared_key_is_none_for_a_daemon(tmp_path: Path) -> None:
    async with placed({"psk"}, tmp_path) as (_, local):
        with pytest.raises(HandshakeError):
            async with chanlink.connect(local("ask")):
                pass


async def test_a_daemon_is_no_stream_of_the_program(tmp_path: Path) -> None:
    """Either stands in the place of an address; where a stream alone can be, a `Local` is none."""
    with pytest.raises(TypeError, match="Local"):
        async with chanlink.accept(Local("web1", service="ask", folder=tmp_path), identity=SERVER, trust=TRUST):  # type: ignore[arg-type]
            pass
