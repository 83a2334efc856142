"""What `repr` says of an end: what it is, of which service, its state; one line, whatever the peer has said."""

import reprlib
from collections.abc import Mapping

from chanlink.errors import Reason
from chanlink.printing import printable

from .cores import ReceiveCore, SendCore

Core = SendCore | ReceiveCore
_BRIEF = 200
"""Characters of a value in a text, or of one of the values in it."""


def describe(kind: str, cores: tuple[Core, ...], void: str, counts: Mapping[str, int]) -> str:
    """The words about an end with these cores: `void` says why its handle can't be used now, if so.

    Counts of zero are left out.
    """
    capacity = cores[0].capacity
    said = [f"capacity {capacity}"] if capacity is not None else []
    said += [f"{words} {count}" for words, count in counts.items() if count]
    return printable(f"<{kind}{of_service(cores)}: {', '.join([void or _state(cores), *said])}>")


def of_service(cores: tuple[Core, ...]) -> str:
    """The service that an end is of, for a text; nothing in memory, where there is none."""
    service = next((core.service for core in cores if core.service is not None), None)
    return "" if service is None else printable(f" of the service {service!r}")


def brief(value: object) -> str:
    """A value, cut where it is long."""
    cut = reprlib.Repr()
    cut.maxstring = cut.maxother = _BRIEF
    return cut.repr(value)


def _state(cores: tuple[Core, ...]) -> str:
    over = [(core, reason) for core in cores if (reason := _over(core))]
    if not over:
        return "open"
    if len(cores) == 1:
        return f"over ({over[0][1]})"
    return ", ".join(
        f"{'sending' if isinstance(core, SendCore) else 'receiving'} is over ({why})" for core, why in over
    )


def _over(core: Core) -> str:
    """Why nothing goes through it any more; empty if something may."""
    if isinstance(core, SendCore):
        return _words(core.outlet.reason) or ("" if core.shares else _words(core.failure) or "ended")
    return _words(core.ending())


def _words(reason: Reason | None) -> str:
    match reason:
        case None:
            return ""
        case Reason(kind="end"):
            return "ended"
        case Reason(kind="lost", cause=cause):
            return f"lost: {type(cause).__name__}"
        case Reason(kind, code):
            return f"{kind}: {code}"
