"""Buffers that all connections of an event loop use, one after the other.

A buffer for each connection would be memory for each idle one, and one made for each use costs more than what is done
in it: over 128 KiB, memory is mapped anew each time. Nobody keeps anything in here over an `await`.
"""

from anyio.lowlevel import RunVar

from chanlink.limits import MAX_RECORD

RECORDS = 4
"""How many of them leave at a time."""
RECEIVE = 256 * 1024
"""Bytes asked of a socket at a time: several records for one system call."""
HEAP = 2 * 1024 * 1024
"""About what comes and goes in large blocks while much is under way."""


class Buffers:
    """What is used in turn: the plaintext of one record, records to send, and what was received."""

    __slots__ = ("arrived", "plain", "sealed")

    def __init__(self) -> None:
        # The GNU library gives the system back what lies free at the end of its heap, from 128 KiB on, and each page
        # costs a fault when it is used again. It keeps twice the largest block that it has seen freed (mallopt(3)).
        bytes(HEAP)
        self.plain = memoryview(bytearray(MAX_RECORD))
        self.sealed = memoryview(bytearray(RECORDS * (2 + MAX_RECORD)))
        self.arrived = memoryview(bytearray(2 + MAX_RECORD + RECEIVE))


_BUFFERS: RunVar[Buffers] = RunVar("chanlink.security.buffers")


def loop_buffers() -> Buffers:
    """Those of the event loop that runs; if there is none, new ones."""
    try:
        return _BUFFERS.get()
    except LookupError:
        made = Buffers()
        _BUFFERS.set(made)
        return made
    except RuntimeError:
        return Buffers()
