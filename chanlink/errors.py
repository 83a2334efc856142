"""The errors of chanlink. The class says what can still be used afterwards.

    ChanlinkError
    |- ChannelError                                  the channel is gone, the session goes on
    |  |- EndOfChannel     (also anyio.EndOfStream)            the sender is done
    |  |- ChannelClosed    (also anyio.ClosedResourceError)    this side closed it
    |  |  `- ChannelMoved                                      this side sent it away
    |  `- ChannelBroken    (also anyio.BrokenResourceError)
    |     |- ChannelFailed                                     the sender gave up: code, text
    |     |- ChannelRefused                                    the receiver is gone: code, reason
    |     `- SessionLost                                       the session ended first: cause, taken
    |- MessageError                                  this message failed, the channel goes on
    |  |- EncodeError                                          it holds something that can't be sent
    |  |- DecodeError                                          the peer sent what no message can be
    |  |- MessageTooLarge
    |  |- MessageTypeError                                     it is not of the channel's item type
    |  |- LimitReached                                         a bound of Limits, by name
    |  `- Lagged                                               a reader was too slow, and has missed some: count
    |- CallError                                     this call has no result, the client can be used further
    |  |- CallRefused                                          it never began: code, text
    |  |- CallFailed                                           it ran, and failed: code, text, detail
    |  `- CallLost                                             nobody knows: cause
    |- JobError                                      this job has no result, the queue can be used further
    |  |- JobRefused                                           the queue did not do it: code, text
    |  |- JobFailed                                            that is its outcome: code, text, attempt
    |  `- JobLost                                              the way to the queue was lost: cause
    |- StoreError                                    what keeps the jobs could not do it now
    |- SessionError                                  the session is gone
    |  |- ConnectFailed                                        no connection was made: code
    |  |  `- HopFailed                                            a gateway on the way is why: hop, cause
    |  |- ConnectionLost                                       it broke without a farewell
    |  |- SessionClosed                                        one side closed it: code
    |  |- PeerTimeout                                          the peer went silent
    |  |- HandshakeError                                       the peers did not agree: code
    |  |  |- HandshakeTimeout
    |  |  |- ServerTooOld                                      it can't do what was asked for
    |  |  |- WrongPeer                                         another key than expected
    |  |  `- UntrustedPeer                                     one side does not trust the other's key: remote
    |  |- LocalProtocolError                                   this side broke the protocol
    |  `- RemoteProtocolError                                  the peer broke the protocol
    `- ConfigError         (also ValueError)         what was configured can't be used
       |- InterfaceError  (also TypeError)
       `- KeyFormatError | AgentError | TrustFormatError | AddressError

The codes that travel are short words (``"abandoned"``, ``"no-such-service"``); docs/reference/protocol.md has the
tables of them. Texts that come from the other side are the peer's words: show them, never act on them.

Whole: one tree, drawn above.
"""

import dataclasses
import re
from typing import Any, Literal, Self

import anyio

from .printing import printable


class ChanlinkError(Exception):
    """The root of every error that chanlink raises by itself."""


# --- the channel is gone ------------------------------------------------------------------------


class ChannelError(ChanlinkError):
    """This channel or byte stream can't be used any more; the session and other channels go on."""


class EndOfChannel(ChannelError, anyio.EndOfStream):
    """The sender closed the channel, and everything sent before has been received."""


class ChannelClosed(ChannelError, anyio.ClosedResourceError):
    """This side has closed this end."""


class ChannelMoved(ChannelClosed):
    """This side has sent this end away inside a message; whoever received it owns it now."""


class ChannelBroken(ChannelError, anyio.BrokenResourceError):
    """The channel is over without an orderly end."""


class ChannelFailed(ChannelBroken):
    """The sender gave up. ``code`` is a short word, ``text`` an explanation that may be empty."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"the sender failed: {_code_and_text(self.code, self.text)}"


class ChannelRefused(ChannelBroken):
    """The receiver is gone, or there never was one. ``code`` is a short word, ``reason`` may be empty."""

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the receiver refused: {_code_and_text(self.code, self.reason)}"


class SessionLost(ChannelBroken):
    """The session ended before this channel did.

    ``cause`` is the error that ended the session, ``peer`` the name of the peer that the session was with.  ``taken``
    is the number of messages that the far application is known to have taken (for a receiver: that this side has
    taken). ``orderly`` says whether one side closed the session, as a server does that is stopped: nothing is broken
    then, and everything that was accepted before has arrived. If it was a session beyond a relay, the cause is a
    `ConnectionLost` with the relay's words, whatever it was there.
    """

    def __init__(self, cause: BaseException, taken: int = 0, peer: str = "") -> None:
        super().__init__(cause, taken, peer)
        self.cause = cause
        self.taken = taken
        self.peer = peer

    @property
    def orderly(self) -> bool:
        """Whether the cause is an ordinary `SessionClosed`."""
        return isinstance(self.cause, SessionClosed) and not self.cause.code

    def __str__(self) -> str:
        session = f"the session with {self.peer}" if self.peer else "the session"
        taken = f"({self.taken} messages were taken)"
        if self.orderly:
            return f"{session} was closed in order, before this channel was over {taken}"
        return f"{session} was lost: {self.cause} {taken}"


MAX_CODE = 64
"""The bytes of a code, which are ASCII (protocol section 6)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """Why a channel is over: one of four ways. Kept at an end, and raised as often as asked."""

    kind: Literal["end", "failed", "refused", "lost"]
    code: str = ""
    text: str = ""
    """An explanation; if lost, the name of the peer whose session it was."""
    cause: BaseException | None = None

    def error(self, taken: int = 0) -> ChannelError:
        """A new exception each time: one that is raised twice would carry the tracebacks of both times."""
        match self.kind:
            case "end":
                return EndOfChannel("the sender closed the channel")
            case "failed":
                return ChannelFailed(self.code, self.text)
            case "refused":
                return ChannelRefused(self.code, self.text)
            case "lost":
                assert self.cause is not None
                return SessionLost(self.cause, taken, self.text)

    def lost_words(self) -> str:
        """If lost: what another process is told, through any number of relays."""
        return f"{self.text}: {self.cause}" if self.text else str(self.cause)


END = Reason("end")


def lost_beyond(words: str) -> Reason:
    """The reason of a channel that was lost beyond a relay, which says this of it."""
    return Reason("lost", cause=ConnectionLost(words))


NEVER_ACCEPTED = ("no-such-service", "wrong-kind", "busy", "draining", "revoked")
"""Codes of a channel that are those of the ends in its messages, too: whoever waits for a reply wants to know them."""


def not_taken(carrier: Reason | None) -> tuple[str, str]:
    """Why nobody took an end, for whoever holds the other one: what became of the channel that carried it, if known.

    A code and a text.
    """
    match carrier:
        case None | Reason(kind="end"):
            return "not-taken", "no message mentioned it"
        case Reason(kind="lost"):
            return "not-taken", carrier.lost_words()
        case Reason(code="not-taken") if carrier.text:
            return "not-taken", carrier.text  # of the outermost one
        case Reason(code=code) if code in NEVER_ACCEPTED:
            return code, carrier.text
        case _:
            return "not-taken", f"{carrier.code}: {carrier.text}" if carrier.text else carrier.code


# --- this message failed ------------------------------------------------------------------------


class MessageError(ChanlinkError):
    """One message failed; nothing of it was sent, and the channel can be used further."""


class EncodeError(MessageError):
    """The message holds something that can't be sent. ``path`` says where: ``args[2].body``."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return f"{self.path or 'the message'}: {self.problem}"


class DecodeError(MessageError):
    """The peer sent bytes that are no message; its sender is refused with code ``bad-message``."""


class MessageTooLarge(MessageError):
    """The message is longer than ``Limits.message_size`` of the side that receives it."""


class MessageTypeError(MessageError):
    """The message is not of the item type that the channel was made for. It is dropped; what follows can be received.

    ``path`` says where (``items[3].price``), and ``problem`` what was expected there: never what was.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return f"{self.path or 'the message'}: {self.problem}"


class LimitReached(MessageError):
    """A bound was reached; ``limit`` is the name of a field of `Limits`."""

    def __init__(self, limit: str, value: int) -> None:
        super().__init__(limit, value)
        self.limit = limit
        self.value = value

    def __str__(self) -> str:
        return f"the limit of {self.value} {self.limit} is reached"


class Lagged(MessageError):
    """A reader of a broadcast was too slow: ``count`` messages are missing here. What follows them can be received."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return f"{self.count} messages were missed here"


# --- this call has no result --------------------------------------------------------------------


class CallError(ChanlinkError):
    """A call has no result. The client, its channel and its session can be used further, unless they are lost."""


class CallRefused(CallError):
    """The call never began, so that it is safe to call again. ``code`` is a short word, ``text`` may be empty.

    Codes of the service: ``no-such-method``, ``bad-arguments``, ``bad-request``, ``late`` (its deadline had passed).
    When nobody took the request: the code of the channel that it was sent on (``no-such-service``, ``busy``,
    ``draining``). ``session-lost`` when the session was over before anything was sent.
    """

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"the call was refused: {_code_and_text(self.code, self.text)}"


class CallFailed(CallError):
    """The call ran, and failed.

    ``code`` is ``handler-failed`` when it raised what was not agreed upon (the log over there says what), ``deadline``
    when its time was over, or ``cancelled`` when it cancelled itself. A subclass that both sides list in the ``raises``
    of an interface arrives as itself, with ``text`` and ``detail``; its code is the name of the class in lower case
    with hyphens, unless it has one of its own::

        class OutOfStock(CallFailed):
            detail: int
    """

    code: str = "handler-failed"
    detail: Any

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in vars(cls):
            cls.code = as_code(cls.__name__)

    def __init__(self, text: str = "", detail: Any = None, *, code: str = "") -> None:
        super().__init__(text, detail)
        self.text = text
        self.detail = detail
        if code:
            self.code = code

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, {self.detail!r}, code={self.code!r})"

    def __str__(self) -> str:
        return f"the call failed: {_code_and_text(self.code, self.text)}"


class CallLost(CallError):
    """Nobody knows whether the call ran, or how far: its reply was lost. ``cause`` is what became of that."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"the call was lost: {self.cause}"


# --- jobs ---------------------------------------------------------------------------------------


class JobError(ChanlinkError):
    """A job of a work queue has no result. The queue, its channel and its session can be used further."""


class JobRefused(JobError):
    """The queue did not do what was asked for. ``code`` is a short word, ``text`` may be empty.

    ``queue-full``, ``bad-job`` (not of the queue's type), ``unknown-job``, ``not-allowed`` (this service does not take
    that), ``bad-request``, ``draining``; ``store-failed``: whether it was stored is not known, and submitting the job
    again with the same id does no harm. When nobody took the request: the code of the channel that it was sent on.
    """

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"the queue did not do it: {_code_and_text(self.code, self.text)}"


class JobFailed(JobError):
    """The outcome of a job is that it has failed.

    ``code`` is the word of the worker that failed it, ``cancelled``, ``bad-result`` (not of the queue's type), or
    ``attempts-used-up``, when it was given again too often; ``text`` says what became of the last attempt then.
    ``attempt`` is the number of that.
    """

    def __init__(self, code: str, text: str = "", attempt: int = 0) -> None:
        super().__init__(code, text, attempt)
        self.code = code
        self.text = text
        self.attempt = attempt

    def __str__(self) -> str:
        return f"the job has failed: {_code_and_text(self.code, self.text)}"


class JobLost(JobError):
    """Nobody here hears of the job any more, since the way to its queue was lost; ``cause`` is what became of that.

    The queue may go on with it: `find` it by its id, or submit it again with the same one.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"the way to the queue was lost: {self.cause}"


class StoreError(ChanlinkError):
    """The store of a queue could not do it: the disk is full, the database does not answer. It may be tried again."""


# --- the session is gone ------------------------------------------------------------------------


class SessionError(ChanlinkError):
    """The session can't be used any more, nor any channel on it.

    ``code`` is a short word for programs that want to tell causes apart, from the list of the class; often it is empty.
    Only that of `SessionClosed` comes from the other side.
    """

    def __init__(self, *args: object, code: str = "") -> None:
        super().__init__(*args)
        self.code = code

    def __str__(self) -> str:
        return printable(super().__str__())  # h2's texts quote the peer

    def again(self) -> Self:
        """A copy to raise: one exception that is raised twice would carry the tracebacks of both times."""
        copy = type(self)(*self.args)
        copy.code = self.code
        copy.__cause__ = self.__cause__
        return copy


class ConnectFailed(SessionError):
    """No connection was made: no such host, nobody listens, no route. The text names the address.

    ``code`` is ``"listen"`` when it was this side that could not listen at its own address.
    """


class HopFailed(ConnectFailed):
    """A gateway on the way is why no connection was made. ``hop`` is the gateway, as it was given to `connect`.

    ``cause`` is why there is no session with it; or, where there is one, what it says of the way on: a `ChannelFailed`
    or `ChannelRefused`, whose words are the gateway's.
    """

    def __init__(self, hop: str, cause: Exception) -> None:
        super().__init__(hop, cause)
        self.hop = hop
        self.cause = cause

    def __str__(self) -> str:
        if isinstance(self.cause, ChannelFailed | ChannelRefused):
            text = self.cause.text if isinstance(self.cause, ChannelFailed) else self.cause.reason
            return f"the gateway {self.hop} does not lead there: {_code_and_text(self.cause.code, text)}"
        return printable(f"the gateway {self.hop} can't be used: {self.cause}")


class ConnectionLost(SessionError):
    """The connection ended without a farewell: a broken network, a killed peer, a changed byte."""


class SessionClosed(SessionError):
    """One side closed the session. ``code`` is empty for an ordinary end."""

    def __init__(self, code: str = "", text: str = "") -> None:
        super().__init__(code, text, code=code)
        self.text = text

    def __str__(self) -> str:
        if not self.code:
            return "the session was closed"
        return f"the session was closed: {_code_and_text(self.code, self.text)}"


class PeerTimeout(SessionError):
    """Nothing came from the peer for ``Limits.peer_timeout`` seconds."""


class HandshakeError(SessionError):
    """The handshake failed. What failed is said only to this side's log, not to a stranger.

    ``code`` is ``"clock"`` when one of the two clocks may be wrong, and ``"no-answer"`` when the server closed the
    connection instead of an answer, so that the text can only guess why. With `connect(early=True)` it may be
    ``"changed"``, the server has other limits by now and was sent nothing, or ``"late"``, it said too late that it had
    not taken the first data. None of them travels.
    """


class HandshakeTimeout(HandshakeError):
    """The handshake did not end within its time. The text names the address."""


class ServerTooOld(HandshakeError):
    """The server does not know what was asked for, such as sessions for one service; it was told nothing of this side.

    The text says what that is.
    """


class WrongPeer(HandshakeError):
    """The server has another key than expected. Both are fingerprints (``SHA256:...``).

    ``advice`` says what else is known; it may be empty.
    """

    def __init__(self, expected: str, actual: str, advice: str = "") -> None:
        super().__init__(expected, actual, *filter(None, [advice]))
        self.expected = expected
        self.actual = actual
        self.advice = advice

    def __str__(self) -> str:
        text = f"the peer's key is {self.actual}, expected was {self.expected}"
        return f"{text}: {self.advice}" if self.advice else text


class UntrustedPeer(HandshakeError):
    """One side does not trust the other's key, which has the ``fingerprint`` (``SHA256:...``).

    If ``remote``, the peer does not trust our key; else this side does not trust the peer's. ``advice`` says what can
    be done about it; it may be empty. ``key`` is the public key of a server that is not known, as a `PublicKey` is
    written: the server has proved it, and somebody can decide that it is the right one. Else it is empty.
    """

    def __init__(self, fingerprint: str, advice: str = "", remote: bool = False, key: str = "") -> None:
        super().__init__(fingerprint, advice, remote, key)
        self.fingerprint = fingerprint
        self.advice = advice
        self.remote = remote
        self.key = key

    def __str__(self) -> str:
        start = "the peer does not trust our key" if self.remote else "this side does not trust the peer's key"
        return printable(f"{start}, {self.fingerprint}" + (f": {self.advice}" if self.advice else ""))


class LocalProtocolError(SessionError):
    """This side broke the protocol: a defect of chanlink or of a caller that went below its API."""


class RemoteProtocolError(SessionError):
    """The peer broke the protocol."""


# --- the configuration can't be used ------------------------------------------------------------


class ConfigError(ChanlinkError, ValueError):
    """What was configured can't be used."""


class KeyFormatError(ConfigError):
    """A key or key file can't be read.

    ``code`` is ``"passphrase-needed"`` or ``"passphrase-wrong"`` when that is all that is wrong, and ``"other-ca"``
    when all that is wrong with a credential is that its authority's key is no Ed25519 key; else it is empty.
    """

    def __init__(self, *args: object, code: str = "") -> None:
        super().__init__(*args)
        self.code = code


class AgentError(ConfigError):
    """An ssh-agent can't be used: there is none, it lacks the key, it refused, or it said what no agent would say."""


class TrustFormatError(ConfigError):
    """A trust file has a line that can't be read."""


class AddressError(ConfigError):
    """An address is not of a form that is known: ``tcp://host:port`` or ``unix:/path``."""


class InterfaceError(ConfigError, TypeError):
    """What was given as a type of messages, or as an interface of calls, can't be one. The text says where and why."""


PEERS_DOING = (CallError, ChannelBroken, DecodeError, MessageTypeError)
"""What a peer can make its services raise as often as it wants to, by what it sends or does not."""


def peers_doing(error: BaseException) -> CallError | ChannelError | MessageError | None:
    """What a peer has made a service raise, if it is nothing else; of a group the first one."""
    if isinstance(error, BaseExceptionGroup) and error.split(PEERS_DOING)[1] is not None:
        return None
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, PEERS_DOING) else None


def as_code(name: str) -> str:
    """The name of a class as codes are written (protocol section 6): ``TimeoutError`` is ``timeout-error``."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    return "-".join(words).lower()[:MAX_CODE].rstrip("-") or "exception"


def _code_and_text(code: str, text: str) -> str:
    return printable(f"{code}: {text}" if text else code)
