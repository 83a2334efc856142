"""Fakes and checks, for programs that use chanlink and for those who write a transport or a channel of their own.

- `session_pair_with_keys` joins two sessions as between two processes: with keys, a handshake and encrypted records.
- `local_server` is a server on this machine with throw-away keys, and connects clients to it by names of their own.
- `session_pair` joins two sessions in memory without a handshake: quicker, and in the clear.
- `session_over` makes a session in the clear over one byte stream that does not leave the machine.
- `FaultyStream` goes around any byte stream and breaks, stalls, slows, corrupts or cuts to pieces what goes through.
- `check_channel` and `check_byte_stream` try every promise that such an object has to keep, and raise an
  `AssertionError` that says which one was broken.

    promises        how a promise is written and checked
    channels        `check_channel`: the promises of delivery, flow and nesting
    byte_streams    `check_byte_stream`, with its promises
    sessions        `session_pair`, `session_over`;  faulty_stream: `FaultyStream`
    pairs           `session_pair_with_keys`;  servers: `local_server`;  guests: whom both let in
    hosting         blocks in tasks of their own;  leaving: what a test leaves behind

Nothing here belongs to a test framework, and everything runs on the event loop of its caller. The fixtures for pytest
are in ``chanlink_pytest.py``, and made of the files in the last line.
"""

from .byte_streams import BYTE_STREAM_PROMISES, check_byte_stream
from .channels import CHANNEL_PROMISES, check_channel
from .faulty_stream import FaultyStream
from .pairs import SessionPair, session_pair_with_keys
from .servers import LocalServer, StartServer, local_server
from .sessions import session_over, session_pair

__all__ = [
    "BYTE_STREAM_PROMISES",
    "CHANNEL_PROMISES",
    "FaultyStream",
    "LocalServer",
    "SessionPair",
    "StartServer",
    "check_byte_stream",
    "check_channel",
    "local_server",
    "session_over",
    "session_pair",
    "session_pair_with_keys",
]
