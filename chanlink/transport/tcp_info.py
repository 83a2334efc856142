"""What the system knows of the other machine of a TCP connection, whatever its process does.

A process that is stopped says nothing, but its kernel acknowledges (docs/decisions/0024-clocks-and-silence.md).
"""

import socket
import struct
import sys

_TCP_INFO = struct.Struct("=3xB20xI28xI")
"""Of `struct tcp_info` of Linux: probes without an answer, segments without an acknowledgement, and when one came."""
_MOST_PROBES = 127  # more than anybody waits for


def acknowledges(sock: socket.socket, seconds: float) -> bool:
    """Whether the other machine is known to be there: it has acknowledged something within ``seconds``, or nothing is
    asked of it. From the first call on, it is asked by empty segments. Never true on other systems than Linux."""
    if sys.platform != "linux":
        return False
    idle = max(1, int(seconds / 3))
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, idle // 3))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _MOST_PROBES)
        fields = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    except (OSError, struct.error):  # it is over, or this is no TCP
        return False
    return is_there(*fields, within=max(seconds, 3.0 * idle))


def is_there(probes: int, unacknowledged: int, milliseconds: int, *, within: float) -> bool:
    """What follows from what the kernel says."""
    # A full window is probed at intervals of up to two minutes, each of them answered: one probe may be under way.
    return milliseconds <= within * 1_000 or not (unacknowledged or probes > 1)
