"""The handshake as the side that accepts, in its parts: who is heard, and who is welcome."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgpack
import pytest

from chanlink import HandshakeError, Limits, ServerTooOld, SessionClosed, UntrustedPeer
from chanlink.features import FEATURES, ONE_SERVICE
from chanlink.security.handshake import Authenticated, answer_to, ask, finish_as_client, handshake_as_client, keys_for
from chanlink.security.handshake_server import Heard, hear, meet, refuse, welcome
from chanlink.security.keys.certificate import Role
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.resuming.agreement import Terms
from tests.patience import PATIENCE

from .handshakes import ALICE, SERVER, Pair, anybody, good_answer, nobody, one_backend, with_scripted_client
from .wires import HELLO, Wire, wires

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


async def both(*acts: Callable[[], Awaitable[object]]) -> None:
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for act in acts:
                tasks.start_soon(act)


@one_backend
async def test_what_is_heard_leaves_secrets_of_which_nothing_was_used() -> None:
    """So that somebody else may go on from there: both sides have the same keys, and records begin with the first."""
    near, far = wires()
    pair, found = Pair(), {}

    async def client() -> None:
        noise, shown, server = await ask(near, pair.client)
        answer = answer_to(server, shown, Limits(), FEATURES, "ping") | {"resume": 5_000}
        found["client"] = server, await finish_as_client(near, noise, answer)

    async def server() -> None:
        found["server"] = await hear(far, pair.server, Limits())

    await both(client, server)
    (offer, ours), heard = found["client"], found["server"]
    assert isinstance(heard, Heard)
    assert ours == heard.secrets
    assert (heard.presented.key, offer.key) == (ALICE.public_key, SERVER.public_key)
    assert (heard.service, heard.asked, heard.session, heard.features) == ("ping", 5_000, b"", FEATURES)
    assert not near.buffer
    assert not far.buffer
    one = NoiseStream(near, *_keys(heard, Role.CLIENT))
    other = NoiseStream(far, *_keys(heard, Role.SERVER))
    await one.send(b"first")
    assert await other.receive() == b"first"


def _keys(heard: Heard, role: Role) -> tuple[Any, ...]:
    keys, buffers = keys_for(heard.secrets, heard.suite, role)
    return keys, heard.secrets, buffers


async def greeted(near: Wire, far: Wire, service: str = "", **options: Any) -> list[Authenticated | Exception]:
    """What each side gets, of a server that welcomes with these options."""
    pair, found = Pair(), {}
    admit = options.pop("admit", anybody)

    async def client() -> None:
        try:
            found["client"] = await handshake_as_client(near, pair.client, anybody, Limits(), service=service)
        except Exception as exc:
            found["client"] = exc
            await near.aclose()

    async def server() -> None:
        try:
            met = await meet(far, pair.server, Limits())
            found["server"] = await welcome(met, admit, Terms.made(0), **options)
        except Exception as exc:
            found["server"] = exc
            await far.aclose()

    await both(client, server)
    return [found["client"], found["server"]]


@one_backend
async def test_a_client_says_for_which_service_it_comes() -> None:
    for service in ("", "ping", "é" * 127):
        for one in await greeted(*wires(), service):
            assert isinstance(one, Authenticated)
            assert one.service == service


@one_backend
async def test_who_needs_a_service_refuses_those_who_say_none() -> None:
    for one in await greeted(*wires(), needs_service=True):
        assert isinstance(one, SessionClosed)
        assert one.code == "service-needed"
    for one in await greeted(*wires(), "ping", needs_service=True):
        assert isinstance(one, Authenticated)


@one_backend
async def test_somebody_who_is_not_trusted_is_told_so_and_not_what_else_is_missing() -> None:
    client, server = await greeted(*wires(), needs_service=True, admit=nobody)
    assert isinstance(client, UntrustedPeer)
    assert isinstance(server, UntrustedPeer)


@one_backend
@pytest.mark.parametrize("service", ["", "x" * 256, "é" * 128, b"ping", 1, None, ["ping"]])
async def test_the_name_of_a_service_has_1_to_255_bytes(service: object) -> None:
    static = generate_keypair()
    said = msgpack.unpackb(await good_answer(static)) | {"service": service}
    _, outcome = await with_scripted_client(static, msgpack.packb(said))
    assert isinstance(outcome, HandshakeError)
    assert "service" in str(outcome)


@one_backend
async def test_a_server_that_knows_of_no_services_learns_nothing_of_the_client() -> None:
    near, far = wires()
    pair = Pair()
    old = FEATURES - {ONE_SERVICE}
    outcome: list[Exception] = []

    async def client() -> None:
        with pytest.raises(ServerTooOld, match="knows of no sessions for one") as caught:
            await handshake_as_client(near, pair.client, anybody, Limits(), service="ping")
        outcome.append(caught.value)
        await near.aclose()

    async def server() -> None:
        with pytest.raises(HandshakeError, match="closed the connection"):
            await hear(far, pair.server, Limits(), features=old)

    await both(client, server)
    assert outcome
    assert bytes(near.sent[: len(HELLO)]) == HELLO
    assert len(near.sent) == len(HELLO) + 2 + 32  # no message 3


@one_backend
async def test_a_refusal_reaches_a_client_that_hangs_up() -> None:
    near, far = wires()
    pair = Pair()

    async def client() -> None:
        noise, shown, found = await ask(near, pair.client)
        await finish_as_client(near, noise, answer_to(found, shown, Limits(), FEATURES))
        await near.aclose()

    async def server() -> None:
        await refuse(await meet(far, pair.server, Limits()), SessionClosed("busy"), {})

    await both(client, server)
