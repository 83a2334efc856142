"""Fakes and checks, for programs that use chanlink and for those who write a transport or a channel of their own.

- `session_pair` joins two sessions in memory: a program's client and server in one test, without sockets and keys.
- `FaultyStream` goes around any byte stream and breaks, slows or cuts to pieces what goes through it.
- `check_channel` and `check_byte_stream` try every promise that such an object has to keep, and raise an
  `AssertionError` that says which one was broken.

    promises        how a promise is written and checked
    channels        `check_channel`: the promises of delivery, flow and nesting
    byte_streams    `check_byte_stream`, with its promises
    sessions        `session_pair`;  faulty_stream: `FaultyStream`

Nothing here belongs to a test framework, and everything runs on the event loop of its caller.
"""

from .byte_streams import BYTE_STREAM_PROMISES, check_byte_stream
from .channels import CHANNEL_PROMISES, check_channel
from .faulty_stream import FaultyStream
from .sessions import session_pair

__all__ = [
    "BYTE_STREAM_PROMISES",
    "CHANNEL_PROMISES",
    "FaultyStream",
    "check_byte_stream",
    "check_channel",
    "session_pair",
]
