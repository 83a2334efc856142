"""Coming back to a session over another connection, as the client (protocol section 3.7).

It is a whole handshake, with new keys, of which no session comes: what remains is the connection, for the session that
there is.
"""

from collections.abc import Callable
from typing import NamedTuple

from anyio.abc import ByteStream

from chanlink.errors import ConfigError, ConnectionLost, HandshakeError, SessionClosed, SessionError, UntrustedPeer
from chanlink.features import FEATURES
from chanlink.limits import Limits
from chanlink.security.handshake import Admit, answer_to, answer_with, ask
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.records import RESUME
from chanlink.security.statics import Statics

from .agreement import Agreement
from .proofs import Prover


class Returned(NamedTuple):
    """The server has the session, and both go on."""

    connection: NoiseStream
    received: int
    """How much the server has received."""
    presented: Presented
    """What the server has shown of itself this time."""


async def return_as_client(
    transport: ByteStream,
    statics: Statics,
    admit: Admit,
    limits: Limits,
    agreement: Agreement,
    attempt: int,
    freeze: Callable[[], int],
) -> Returned:
    """Come back to a session. ``freeze`` is called when the connection before must not be used any more, and returns
    the count of what was received.

    Raises what the server says of the session, if it is its server that says so; anything else that is a
    `SessionError` is `TryFailed`. The caller closes the transport then.
    """
    try:
        noise, shown, found = await ask(transport, statics)
        admit(found.presented)
        answer = answer_to(found, shown, limits, FEATURES) | {"session": agreement.session}
        stream = await answer_with(transport, noise, found, answer, statics)
    except (SessionError, ConfigError) as exc:  # of the second sort, an agent that does not sign
        raise TryFailed(exc) from exc
    return Returned(stream, await return_over(stream, agreement, attempt, freeze), found.presented)


async def return_over(
    stream: NoiseStream, agreement: Agreement, attempt: int, freeze: Callable[[], int], *, renews: bool = False
) -> int:
    """As `return_as_client`, once message 3 has said which session it is: how much the server has received.

    With ``renews`` a new epoch begins behind record 5.
    """
    prover = Prover(agreement.secret, agreement.session, stream.handshake_hash)
    try:
        await stream.send_record(RESUME, prover.resume(attempt, freeze()).packed())
        if renews:
            stream.begin_epoch()
            await stream.send_parts([])
    except SessionError as exc:
        raise TryFailed(exc) from exc
    try:
        await stream.receive_welcome()
    except SessionError as exc:
        raise _verdict(exc, stream.welcome.get("instance"), stream.welcome.get("why", ""), agreement) from exc
    resumed = stream.welcome.get("resumed")
    if resumed is None or not prover.is_proved(Role.SERVER, attempt, resumed["count"], resumed["proof"]):
        raise TryFailed(HandshakeError("the server does not prove that it has the session"))
    received: int = resumed["count"]
    return received


class TryFailed(Exception):
    """This try has failed, and says nothing of the session."""

    def __init__(self, problem: SessionError | ConfigError) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return str(self.problem)


def _verdict(problem: SessionError, instance: bytes | None, why: str, agreement: Agreement) -> Exception:
    """What a refusal means: the end of the session, if those who say so know."""
    ours = instance == agreement.instance
    match problem:
        case UntrustedPeer() if ours:
            return problem
        case SessionClosed(code="revoked") if ours:
            return SessionClosed("revoked")
        case SessionClosed(code="closed") if ours:
            return SessionClosed(why, "" if why else ENDED)
        case SessionClosed(code="gone") if ours:
            return ConnectionLost(GONE)
        case SessionClosed(code="gone") if instance is not None and not agreement.shared:
            return ConnectionLost(RESTARTED)
    return TryFailed(problem)


ENDED = "while the connection was away"
GONE = "the server has given the session up"
RESTARTED = "the server was restarted, and has no such session"
