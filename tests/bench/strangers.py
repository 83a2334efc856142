"""``python -m tests.bench.strangers``: what a stranger costs a server, by what he does and what he is answered.

Processor time of the server, which is a process of its own, for each of 1,500 strangers, 40 at a time, in three turns.
One who is turned away costs what one costs who is asked for the solution of a puzzle (docs/decisions/0053). Linux only.
"""

import socket
import subprocess
import sys
import time
from collections import Counter, deque

import anyio

import chanlink
from chanlink import Identity, Trust
from chanlink.security.noise.x25519 import generate_keypair
from tests.bench.hostile import processor
from tests.security.wires import HELLO, prefixed

COUNT, AT_ONCE, TURNS = 1_500, 40, 3
HERE, FAILING = "127.0.0.1", "127.0.0.9"
"""The first one is never charged for failures (`chanlink.security.admission`), the other one comes last after some."""
FIRST = HELLO + prefixed(generate_keypair().public)
STRANGERS = {
    "connects, and goes": (HERE, b""),
    "speaks HTTP": (HERE, b"GET / HTTP/1.1\r\n\r\n"),
    "message 1, answered by message 2": (HERE, FIRST),
    "message 1, turned away": (FAILING, FIRST),
}


async def serve() -> None:
    me, trust = Identity.generate(), Trust.of(Identity.generate().public_key)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=me, trust=trust, services={}) as listener:
        print(listener.addresses[0], flush=True)
        await anyio.sleep_forever()


def come(port: int, source: str, said: bytes, count: int) -> Counter[int]:
    """So many strangers, and how many bytes each was told."""
    there: deque[socket.socket] = deque()
    told: Counter[int] = Counter()

    def go() -> None:
        with there.popleft() as sock:
            if said:
                try:
                    told[len(sock.recv(65_536))] += 1
                except ConnectionResetError:
                    told[0] += 1

    for _ in range(count):
        there.append(socket.create_connection(("127.0.0.1", port), source_address=(source, 0)))
        there[-1].sendall(said)
        if len(there) > AT_ONCE:
            go()
    while there:
        go()
    return told


def main() -> None:
    command = [sys.executable, "-m", "tests.bench.strangers", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        for source in (HERE, FAILING):
            come(port, source, FIRST, 300)
        for name, (source, said) in list(STRANGERS.items()) * TURNS:
            before = processor(server.pid)
            told = come(port, source, said, COUNT)
            time.sleep(0.3)
            each = (processor(server.pid) - before) / COUNT * 1_000
            print(f"{name:34} {each:6.3f} ms   told so many bytes: {dict(told)}", flush=True)
        server.terminate()


if __name__ == "__main__":
    if sys.argv[1:]:
        anyio.run(serve)
    else:
        main()
