"""What local applications say to a daemon, and what it reads of its own folder."""

import tempfile
from contextlib import suppress
from pathlib import Path

from chanlink.daemon import settings
from chanlink.daemon.journal import LONGEST, Journal
from chanlink.errors import ConfigError, RemoteProtocolError
from chanlink.handover import messages
from chanlink.security.keys.syntax import FILE_MAX

from .targets import target

SORTS = [one for one in vars(messages).values() if isinstance(one, type) and "WHAT" in vars(one)]


@target(messages.MESSAGE_MAX)
def daemon_message(data: bytes) -> None:
    """A packet of either side; what is read is packed as it was understood."""
    with suppress(RemoteProtocolError):
        message = messages.read_message(data, SORTS)
        assert messages.read_message(message.packed(), [type(message)]) == message


@target(FILE_MAX, seconds=1.0)  # it is our own, and is read in a thread
def daemon_settings(data: bytes) -> None:
    with suppress(ConfigError, ValueError, RecursionError):
        found = settings.parse(data.decode("latin-1"), Path("/"))
        assert all(settings.SERVICE.fullmatch(name) for name in found.services)


@target(16 * LONGEST, seconds=1.0)  # it is our own, and is read once: a million empty lines
def daemon_sessions(data: bytes) -> None:
    """What is kept of it is kept again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sessions")
        path.write_bytes(data)
        first = Journal(path)
        first.close()
        second = Journal(path)
        second.close()
        assert first.rows == second.rows
