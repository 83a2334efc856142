"""What clients and workers say to a queue: checked, and made into what the queue works with (protocol section 14)."""

from typing import Any, Literal, NamedTuple, TypeVar

from chanlink.channels.channel import Receiver, Sender
from chanlink.channels.objects import all_ends
from chanlink.errors import MAX_CODE

Ask = Literal["submit", "find", "cancel", "retry", "status", "failed", "work"]
ASKS: tuple[Ask, ...] = ("submit", "find", "cancel", "retry", "status", "failed", "work")
MAX_ID = 200
"""Characters of the id of a job."""
MAX_TEXT = 1_024
"""Characters of a text; what is longer is cut."""
MAX_SLOTS = 10_000
MAX_FAILED = 1_000
"""How many failed jobs an answer may have."""
MAX_AFTER = 366 * 24 * 3600.0
"""The seconds that a job may be delayed."""

T = TypeVar("T")


class Refusal(Exception):
    """A request is not granted, or a worker has broken a rule: why, for the other side."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text[:MAX_TEXT]


class Request(NamedTuple):
    """What was asked for, and where the answer goes."""

    ask: Ask
    entries: dict[str, Any]
    answer: Sender[Any]


# --- requests -------------------------------------------------------------------------------------


def read_request(message: object) -> Request | None:
    """The request in a message; None if it can't be answered, or was answered here: it is not as it should be.

    Its other entries are checked where they are used, by the functions below.
    """
    answer = message.pop("answer", None) if type(message) is dict else None
    if not isinstance(answer, Sender):
        refuse_ends([answer, message])
        return None
    assert isinstance(message, dict)
    ask = message.get("ask")
    if ask not in ASKS:
        refuse_ends(message)
        answer.fail("bad-request", "ask: nobody knows that one")
        return None
    return Request(ask, message, answer)


def refuse_ends(value: object) -> None:
    """Refuse the ends in what nobody takes."""
    for end in all_ends(value).values():
        end._forsake("not-taken", "the message that it was in is no request")


def id_of(entries: dict[str, Any]) -> str:
    """The id of a job. Raises `Refusal`."""
    found = entries.get("id")
    if type(found) is not str or not 1 <= len(found) <= MAX_ID or clean(found) != found:
        raise Refusal("bad-request", f"id: a str of 1 to {MAX_ID} characters is wanted")
    return found


def number_of(entries: dict[str, Any], name: str, most: int) -> int:
    """A whole number from 1 on. Raises `Refusal`."""
    found = entries.get(name)
    if type(found) is not int or not 1 <= found <= most:
        raise Refusal("bad-request", f"{name}: 1 to {most} is wanted")
    return found


def payload_of(entries: dict[str, Any], name: str) -> bytes:
    """The bytes of a message. Raises `Refusal`."""
    return bytes(_of(entries, name, bytes, "bytes are wanted"))


def attached_of(entries: dict[str, Any]) -> bool:
    """Whether somebody waits to be asked for what goes with the job. Raises `Refusal`."""
    return _of(entries, "attached", bool, "true or false is wanted") if "attached" in entries else False


def after_of(entries: dict[str, Any]) -> str:
    """The id behind which an answer begins. Raises `Refusal`."""
    return clean(_of(entries, "after", str, "a str is wanted")[:MAX_ID]) if "after" in entries else ""


def says_of(entries: dict[str, Any]) -> Receiver[Any]:
    """What a worker says. Raises `Refusal`."""
    return _of(entries, "says", Receiver, "a receiver is wanted")


def clean(text: str) -> str:
    """A text that any store can keep: in this process, one may come with half characters, as of a file's name."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _of(entries: dict[str, Any], name: str, kind: type[T], wanted: str) -> T:
    found = entries.get(name)
    if not isinstance(found, kind):
        raise Refusal("bad-request", f"{name}: {wanted}")
    return found


# --- what workers say -----------------------------------------------------------------------------


def key_of(entries: dict[str, Any], name: str) -> int:
    """The key of a job. Raises `Refusal`."""
    found = entries.get(name)
    if type(found) is not int:
        raise Refusal("bad-request", f"{name}: the key of a job is wanted")
    return found


def reason_of(entries: dict[str, Any]) -> tuple[str, str]:
    """Why an attempt has failed. Raises `Refusal`."""
    code, text = entries.get("code"), entries.get("text", "")
    if type(code) is not str or not (0 < len(code) <= MAX_CODE and code.isascii() and code.isprintable()):
        raise Refusal("bad-request", f"code: 1 to {MAX_CODE} characters of ASCII are wanted")
    if type(text) is not str:
        raise Refusal("bad-request", "text: a str is wanted")
    return code, clean(text[:MAX_TEXT])


def seconds_of(entries: dict[str, Any], name: str) -> float:
    """How long a job is delayed. Raises `Refusal`."""
    found = entries.get(name)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found <= MAX_AFTER:
        raise Refusal("bad-request", f"{name}: 0 to {MAX_AFTER:.0f} seconds are wanted")
    return float(found)
