"""`connect` and `reconnecting`, as programs have them, with names."""

import inspect
from typing import Any

import pytest

import chanlink
from chanlink import ConfigError, ConnectFailed, Identity, KnownPeers, Trust, UntrustedPeer
from chanlink.links import reconnecting as links
from chanlink.naming.finding import finding
from chanlink.naming.resolving import Configured
from chanlink.session import connecting as sessions
from tests.directory.hosting import served
from tests.directory.made import ALICE, BOB

from .test_resolving import register, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


def listen(identity: Identity = BOB) -> Any:
    return chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=Trust.of(ALICE.public_key))


def test_they_have_the_parameters_and_the_words_of_what_they_are_made_of() -> None:
    for function, of in (chanlink.connect, sessions.connect), (chanlink.reconnecting, links.reconnecting):
        assert inspect.signature(function) == inspect.signature(of)
        assert (function.__doc__, function.__name__) == (of.__doc__, of.__name__)


async def test_a_name_is_found_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no directory to ask; set CHANLINK_DIRECTORY"):
        async with chanlink.connect("chanlink://web1", identity=ALICE):
            pass
    async with served() as host, listen() as listener:
        await register(host, tuple(listener.addresses))
        monkeypatch.setenv("CHANLINK_DIRECTORY", text_of(host))
        KnownPeers.load().add("chanlink://web1", BOB.public_key)
        async with chanlink.connect("chanlink://web1", identity=ALICE) as session:
            assert session.peer.key == BOB.public_key
        async with chanlink.reconnecting(address="chanlink://web1", identity=ALICE) as link:
            assert (await link.session()).peer.key == BOB.public_key
        with pytest.raises(ConnectFailed, match="chanlink://web2: no server has that name now"):
            async with chanlink.connect("chanlink://web2", identity=ALICE):
                pass


async def test_a_text_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_DIRECTORY", "tcp://127.0.0.1:1")
    async with served() as host, listen() as listener:
        await register(host, tuple(listener.addresses))
        options: dict[str, Any] = {"identity": ALICE, "directory": text_of(host)}
        with pytest.raises(UntrustedPeer, match="chanlink://web1 ssh-ed25519"):
            async with chanlink.connect("chanlink://web1", **options):
                pass
        async with chanlink.connect("chanlink://web1", **options, trust_directory=True) as session:
            assert session.peer.name == "web1"


async def test_an_object_is_asked_itself() -> None:
    async with served() as host, listen() as listener:
        await register(host, tuple(listener.addresses))
        async with host.directory() as directory:
            options: dict[str, Any] = {"identity": ALICE, "directory": directory, "trust_directory": True}
            async with chanlink.connect("chanlink://web1", **options) as session:
                assert session.peer.key == BOB.public_key


async def test_an_address_needs_no_directory() -> None:
    async with listen() as listener:
        options: dict[str, Any] = {"identity": ALICE, "peer": BOB.public_key, "directory": "nonsense"}
        async with chanlink.connect(*listener.addresses, **options) as session:
            await session.ping()


def test_what_is_given_is_handed_on() -> None:
    def connects(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    found = finding(connects)
    assert found("tcp://x", timeout=5) == (("tcp://x",), {"timeout": 5})
    directory = Configured("tcp://x")
    assert found("chanlink://x", directory=directory) == (("chanlink://x",), {"directory": directory})
    _, kwargs = found("chanlink://x", identity=ALICE)
    assert isinstance(kwargs["directory"], Configured)
    assert found(5) == ((5,), {})
