"""A client comes back to a session: what it says and when, and what it makes of each answer."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from chanlink import ConnectionLost, Limits, SessionClosed, SessionError, UntrustedPeer, WrongPeer
from chanlink.security.handshake_server import Met, meet, refuse, send_welcome
from chanlink.security.keys.certificate import Role
from chanlink.security.resuming.agreement import Agreement
from chanlink.security.resuming.proofs import Prover
from chanlink.security.resuming.returning import Returned, TryFailed, return_as_client
from chanlink.security.statics import Statics
from tests.security.handshakes import ALICE, SERVER, anybody, one_backend, wrong
from tests.security.wires import wires

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite"), one_backend]

AGREEMENT = Agreement(b"\2" * 16, b"\3" * 16, b"\4" * 32, 60.0, False)
OTHER = b"\5" * 16
Play = Callable[[Met], Awaitable[None]]


async def coming_back(
    play: Play, *, agreement: Agreement = AGREEMENT, admit: Any = anybody, freeze: Callable[[], int] = lambda: 1_000
) -> tuple[list[Met], Returned | Exception]:
    """What the server was told, if that was all, and what comes of it for the client."""
    client_end, server_end = wires()
    found: list[Met] = []
    outcome: list[Returned | Exception] = []

    async def server() -> None:
        try:
            found.append(await meet(server_end, Statics(SERVER, Role.SERVER), Limits()))
            await play(found[0])
        except SessionError:
            pass
        await server_end.aclose()

    async def client() -> None:
        statics = Statics(ALICE, Role.CLIENT)
        try:
            outcome.append(await return_as_client(client_end, statics, admit, Limits(), agreement, 7, freeze))
        except Exception as exc:
            outcome.append(exc)
            await client_end.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        tasks.start_soon(client)
    return found, outcome[0]


def prover(met: Met) -> Prover:
    return Prover(AGREEMENT.secret, AGREEMENT.session, met.stream.handshake_hash)


async def goes_on(met: Met, attempt: int = 7, role: Role = Role.SERVER) -> None:
    resumed = {"count": 500, "proof": prover(met).prove(role, attempt, 500)}
    await send_welcome(met, {"instance": AGREEMENT.instance, "resumed": resumed})
    await met.stream.send(b"and on")


async def test_both_sides_prove_themselves_and_the_connection_remains() -> None:
    frozen: list[bool] = []

    def freeze() -> int:
        frozen.append(True)
        return 1_000

    (met,), outcome = await coming_back(goes_on, freeze=freeze)
    assert frozen == [True]
    assert (met.heard.session, met.key, met.heard.asked) == (AGREEMENT.session, ALICE.public_key, 0)
    assert met.resume is not None
    assert (met.resume.attempt, met.resume.received) == (7, 1_000)
    assert prover(met).is_proved(Role.CLIENT, 7, 1_000, met.resume.proof)
    assert isinstance(outcome, Returned)
    assert outcome.received == 500
    assert await outcome.connection.receive() == b"and on"


async def test_the_connection_before_is_given_up_only_once_the_server_has_shown_its_key() -> None:
    def freeze() -> int:
        raise AssertionError("too early")

    found, outcome = await coming_back(goes_on, admit=wrong, freeze=freeze)
    assert not found
    assert isinstance(outcome, TryFailed)
    assert isinstance(outcome.problem, WrongPeer)


@pytest.mark.parametrize(("attempt", "role"), [(6, Role.SERVER), (7, Role.CLIENT)])
async def test_a_server_whose_proof_is_wrong_is_not_the_one(attempt: int, role: Role) -> None:
    async def play(met: Met) -> None:
        await goes_on(met, attempt, role)

    _, outcome = await coming_back(play)
    assert isinstance(outcome, TryFailed)
    assert "does not prove" in str(outcome)


async def test_a_server_that_makes_a_session_of_its_own_of_it_is_not_the_one() -> None:
    async def play(met: Met) -> None:
        await send_welcome(met, {})

    _, outcome = await coming_back(play)
    assert isinstance(outcome, TryFailed)


async def test_a_server_that_closes_without_a_word_has_said_nothing() -> None:
    async def play(met: Met) -> None:
        await met.transport.aclose()

    _, outcome = await coming_back(play)
    assert isinstance(outcome, TryFailed)


ENDS: list[tuple[SessionClosed | UntrustedPeer, dict[str, Any], SessionError]] = [
    (SessionClosed("gone"), {}, ConnectionLost("the server has given the session up")),
    (SessionClosed("closed"), {"why": ""}, SessionClosed("")),
    (SessionClosed("closed"), {"why": "revoked"}, SessionClosed("revoked")),
    (SessionClosed("revoked"), {}, SessionClosed("revoked")),
    (UntrustedPeer("x"), {}, UntrustedPeer("x", remote=True)),
]


@pytest.mark.parametrize(("why", "said", "error"), ENDS, ids=[f"{why!r} {said}" for why, said, _ in ENDS])
async def test_only_the_listener_that_has_the_session_can_end_it(
    why: SessionClosed | UntrustedPeer, said: dict[str, Any], error: SessionError
) -> None:
    async def play(met: Met) -> None:
        await refuse(met, why, {"instance": AGREEMENT.instance, **said})

    async def of_another(met: Met) -> None:
        await refuse(met, why, {"instance": OTHER, **said})

    async def of_nobody(met: Met) -> None:
        await refuse(met, why, said)

    _, outcome = await coming_back(play)
    assert type(outcome) is type(error)
    if isinstance(error, SessionClosed):
        assert isinstance(outcome, SessionClosed)
        assert outcome.code == error.code
    elif isinstance(error, ConnectionLost):
        assert str(outcome) == str(error)
    _, outcome = await coming_back(of_another, agreement=AGREEMENT._replace(shared=True))
    assert isinstance(outcome, TryFailed)
    _, outcome = await coming_back(of_nobody)
    assert isinstance(outcome, TryFailed)


async def test_a_server_that_was_started_anew_is_known_at_once_unless_others_serve_the_address_too() -> None:
    async def play(met: Met) -> None:
        await refuse(met, SessionClosed("gone"), {"instance": OTHER})

    _, outcome = await coming_back(play)
    assert isinstance(outcome, ConnectionLost)
    assert str(outcome) == "the server was restarted, and has no such session"
    _, outcome = await coming_back(play, agreement=AGREEMENT._replace(shared=True))
    assert isinstance(outcome, TryFailed)


@pytest.mark.parametrize("code", ["busy", "something-new"])
async def test_a_server_that_has_no_time_is_tried_again(code: str) -> None:
    async def play(met: Met) -> None:
        await refuse(met, SessionClosed(code), {"instance": AGREEMENT.instance})

    _, outcome = await coming_back(play)
    assert isinstance(outcome, TryFailed)
