"""Ports on which nobody listens, and nobody will by chance."""

import os
import socket
from itertools import count

PORTS = range(10_240, 32_768)
"""Below those that Linux gives to whoever asks for any."""
_numbers = count(os.getpid() * 61)


def free_port() -> int:
    """One of this machine, for a server that is told to listen on it, or for nobody.

    One that the system gives for port 0 may be the next one that it gives, to another test, once it was closed.
    Processes begin at different places, and none gives the same one twice until it has been through all.
    """
    while True:
        port = PORTS[next(_numbers) % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
