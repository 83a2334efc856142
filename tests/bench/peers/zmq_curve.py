"""What the two peers with pyzmq and CURVE share: `zmq_blocking` and `zmq_asyncio`.

The server has three sockets: PULL for messages, PUSH on which it says that all have come, and REP for round trips.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

Where = dict[str, Any]
KINDS = {"messages": zmq.PULL, "done": zmq.PUSH, "echo": zmq.REP}
CLIENT_KINDS = {"messages": zmq.PUSH, "done": zmq.PULL, "echo": zmq.REQ}
END = b""
"""The last message; the others have at least a byte."""


@contextmanager
def serving(context: Any) -> Iterator[tuple[Where, dict[str, Any]]]:
    """What a client needs to know, and the sockets of the server by name."""
    public, secret = zmq.curve_keypair()
    sockets = {name: context.socket(kind) for name, kind in KINDS.items()}
    where: Where = {"key": public.decode(), "ports": {}}
    for name, socket in sockets.items():
        socket.curve_server, socket.curve_secretkey, socket.linger = True, secret, 0
        where["ports"][name] = socket.bind_to_random_port("tcp://127.0.0.1")
    yield where, sockets


@contextmanager
def connected(context: Any, where: Where, *names: str) -> Iterator[tuple[Any, ...]]:
    """The client's ends of some of them, with a key of its own each."""
    sockets = tuple(context.socket(CLIENT_KINDS[name]) for name in names)
    for name, socket in zip(names, sockets, strict=True):
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey, socket.linger = where["key"].encode(), 0
        socket.connect(f"tcp://127.0.0.1:{where['ports'][name]}")
    try:
        yield sockets
    finally:
        for socket in sockets:
            socket.close()
