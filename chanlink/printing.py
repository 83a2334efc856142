"""What a peer has said, as it may stand on a terminal and in a log.

A name, a code, a text, a path that the other side chose may hold what a terminal obeys (escape sequences), what turns
the order of letters around, or a newline with a line after it that looks like one of ours. `printable` is the one
function that makes words of it. `PrintableLog` does that to whatever is logged, so that nobody has to remember it at
each line: the loggers of this package have it, and those of a program that logs what peers say should, too.
"""

import logging
import traceback
from collections.abc import Iterator

from .arguments import expect

CHAIN_MAX = 50
"""Errors of one traceback; those before them are left out."""


def printable(text: str) -> str:
    """Somebody else's words in one line: whatever can't be printed becomes an escape as in Python source."""
    expect("text", text, str)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class PrintableLog(logging.Filter):
    """Keeps what is logged printable: each message is one line, and only a traceback's own lines begin a line.

    Add it to a logger of yours, or to a handler for all that goes there. The error itself stays in the record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Make it printable; none is left out."""
        message = record.getMessage()
        if not message.isprintable():
            record.msg, record.args = printable(message), None
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not record.exc_text:  # which a formatter takes for what it has made itself before
            record.exc_text = printable_traceback(error)
        return True


def printable_logger(name: str) -> logging.Logger:
    """The logger of a module of ours."""
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)
    return logger


_FILTER = PrintableLog()


def printable_traceback(error: BaseException) -> str:
    """As Python prints it, except that an error's words are one line, whatever is in them."""
    return "\n".join(_blocks(error, set()))


def _blocks(error: BaseException, seen: set[int]) -> Iterator[str]:
    """What led to an error, its traceback, its words, and the errors of a group."""
    seen.add(id(error))
    if len(seen) > CHAIN_MAX:
        yield "..."
        return
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _blocks(before, seen)
        yield "This was the cause of:" if before is error.__cause__ else "While that was handled:"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    yield printable("".join(traceback.format_exception_only(error)).rstrip("\n"))
    if isinstance(error, BaseExceptionGroup):
        for number, inner in enumerate(error.exceptions, start=1):
            if id(inner) not in seen:
                yield f"{number} of {len(error.exceptions)} in that group:"
                yield from _blocks(inner, seen)
