"""What completion shows of sessions, listeners and peers is what they document: all else begins with an underscore."""

from typing import Any

import pytest

import chanlink
from chanlink import Incoming, Listener, Peer, Session
from tests.channels.pairs import session_pair
from tests.session.endpoints import listen

pytestmark = pytest.mark.anyio

FACES: dict[type, set[str]] = {
    Session: {
        "abort",
        "accept",
        "aclose",
        "cancel_when_draining",
        "check",
        "closed",
        "drain",
        "early",
        "exporter",
        "id",
        "open",
        "open_stream",
        "ping",
        "state",
        "states",
        "statistics",
        "suite",
        "wait_closed",
    },
    Listener: {"accept", "aclose", "addresses", "drain", "extra", "extra_attributes", "serve", "sessions"},
    Peer: {"address", "issued", "key", "name", "names"},
    Incoming: {"end", "peer", "service", "count", "index"},
}
KINDS = [pytest.param(kind, id=kind.__name__) for kind in FACES]


def shown(one: Any) -> set[str]:
    return {name for name in dir(one) if not name.startswith("_")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_shows_what_it_documents(kind: type) -> None:
    assert kind.__name__ in chanlink.__all__
    assert shown(kind) == FACES[kind]


@pytest.mark.parametrize("kind", [Session, Listener])
def test_all_of_it_is_explained(kind: type) -> None:
    inherited = {"extra"}  # of anyio
    assert not [name for name in FACES[kind] - inherited if not getattr(kind, name).__doc__]


async def test_a_session_shows_its_peer_besides() -> None:
    async with session_pair() as (client, server):
        for session in (client, server):
            assert shown(session) == FACES[Session] | {"peer"}


async def test_a_listener_shows_nothing_else() -> None:
    async with listen() as listener:
        assert shown(listener) == FACES[Listener]
