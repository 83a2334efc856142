"""Errors in one line that says what to do."""

import errno

import chanlink

from ..messages import BadMessage, StartError
from ..words import one_line
from . import descriptors

PASSPHRASE = "the key has a passphrase"
"""What chanlink says of one, before it says what a program has to do."""


def complain(problem: str) -> None:
    """Say on standard error what is wrong."""
    descriptors.complain(one_line(problem))


def explain(error: Exception) -> str | None:
    """What went wrong and what to do, in one line; None for a defect of ours, which deserves its traceback."""
    match error:
        case chanlink.KeyFormatError() if isinstance(error.__cause__, FileNotFoundError):
            return f"{error}; make a key with: ssh-keygen -t ed25519 -N '' -f FILE"
        case chanlink.KeyFormatError(code="passphrase-needed"):
            which = str(error).rpartition(PASSPHRASE)[0]
            return (
                f"{which}{PASSPHRASE}, and rexec asks for none; name another key, or take it off: ssh-keygen -p -f FILE"
            )
        case StartError():
            return f"{error.code}: {error.text}"
        case chanlink.ChanlinkError() | BadMessage():
            return str(error)
        case UnicodeEncodeError():
            return f"{error.object!r} is no text: in the locale here, it has bytes that are no letters"
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return f"{error.strerror} (see ulimit -n)"  # whichever file it was
        case OSError():
            what = error.filename if isinstance(error.filename, str) else "can't read or write"
            return f"{what}: {error.strerror or error}"
        case ExceptionGroup():  # of tasks that ended together: one reason is enough
            return next(filter(None, map(explain, error.exceptions)), None)
    return None
