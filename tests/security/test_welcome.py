"""The server's first record: what a client takes for it, and what it makes of anything else."""

import pytest

from chanlink import HandshakeError, RemoteProtocolError, SessionClosed
from chanlink.security.noise.x25519 import generate_keypair

from .handshakes import (
    ALICE,
    MALLORY,
    SERVER,
    authenticated,
    good_answer,
    good_offer,
    one_backend,
    welcome,
    with_scripted_client,
    with_scripted_server,
)
from .wires import CLOSE, DATA, REKEY, WELCOME, Scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


YOU = ALICE.public_key.raw
BAD_WELCOMES: dict[str, tuple[int, object]] = {
    "another client": (WELCOME, {"code": "", "you": MALLORY.public_key.raw}),
    "no client": (WELCOME, {"code": ""}),
    "a client of another type": (WELCOME, {"code": "", "you": str(ALICE.public_key)}),
    "another client is refused": (WELCOME, {"code": "untrusted", "you": MALLORY.public_key.raw}),
    "no code": (WELCOME, {"you": YOU}),
    "a code that is no text": (WELCOME, {"code": 0, "you": YOU}),
    "a code that is nil": (WELCOME, {"code": None, "you": YOU}),
    "no map": (WELCOME, [1]),
    "no msgpack": (WELCOME, b"\xc1"),
    "empty": (WELCOME, b""),
    "data": (DATA, b"data"),
    "empty data": (DATA, b""),
    "close": (CLOSE, {"code": "", "text": ""}),
    "rekey": (REKEY, b""),
    "unknown": (77, b""),
}


@one_backend
@pytest.mark.parametrize("eager", [False, True], ids=["waiting", "eager"])
@pytest.mark.parametrize(("kind", "body"), BAD_WELCOMES.values(), ids=BAD_WELCOMES.keys())
async def test_a_first_record_that_is_no_welcome_ends_it_for_good(kind: int, body: object, eager: bool) -> None:
    async def play(server: Scripted) -> None:
        await server.send(kind, body)
        await welcome(server)  # too late
        await server.send(DATA, b"nothing of this is delivered")

    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), play, eager=eager)
    if not eager:
        assert type(outcome) is HandshakeError
        return
    for _ in range(3):
        with pytest.raises(HandshakeError) as caught:
            await authenticated(outcome).stream.receive()
        assert type(caught.value) is HandshakeError


@one_backend
@pytest.mark.parametrize("eager", [False, True], ids=["waiting", "eager"])
async def test_a_server_that_goes_instead_of_a_welcome_fails_the_handshake(eager: bool) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), eager=eager)
    if eager:
        with pytest.raises(HandshakeError):
            await authenticated(outcome).stream.receive()
    else:
        assert type(outcome) is HandshakeError


@one_backend
@pytest.mark.parametrize("eager", [False, True], ids=["waiting", "eager"])
async def test_a_busy_server_says_so(eager: bool) -> None:
    async def busy(server: Scripted) -> None:
        await server.send(WELCOME, {"code": "busy\n\x1b[2J", "you": YOU})

    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), busy, eager=eager)
    if eager:
        with pytest.raises(SessionClosed) as caught:
            await authenticated(outcome).stream.receive()
        outcome = caught.value
    assert isinstance(outcome, SessionClosed)
    assert outcome.code == r"busy\n\x1b[2J"  # as it may stand in a log


@one_backend
async def test_there_is_one_welcome_and_from_the_server() -> None:
    async def twice(server: Scripted) -> None:
        await welcome(server)
        await server.send(DATA, b"good")
        await welcome(server)
        await server.send(DATA, b"bad")

    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), twice)
    stream = authenticated(outcome).stream
    assert await stream.receive() == b"good"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            await stream.receive()
    client, outcome = await with_scripted_client(static, await good_answer(static))
    assert client is not None
    await client.send(WELCOME, {"code": "", "you": SERVER.public_key.raw})
    with pytest.raises(RemoteProtocolError):
        await authenticated(outcome).stream.receive()
