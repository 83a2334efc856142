"""Many bytes: byte streams with either cipher, and large messages."""

from tests.bench.ends import BACKENDS
from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MEGABYTES

MIB = 1024 * 1024
STREAMED = 512 * MIB
CIPHERS = {"aegis256": ("AEGIS-256", 900), "chachapoly": ("ChaCha20-Poly1305", 500)}
SIZES = {"64k": ("64 KiB", 65_536), "1m": ("1 MiB", MIB)}


def rows() -> list[Row]:
    return [row for backend in BACKENDS for row in (*_streams(backend), *_messages(backend))]


def _streams(backend: str) -> list[Row]:
    return [
        Row(
            f"bytes-{suite}/{backend}",
            f"byte stream over a session, {cipher}",
            MEGABYTES,
            Task("ours", "byte_stream", {"count": STREAMED, "suite": suite}, backend),
            {"TCP": Task("bare", "byte_stream", {"count": STREAMED}, backend)},
            (Goal(">=", goal),),
        )
        for suite, (cipher, goal) in CIPHERS.items()
    ]


def _messages(backend: str) -> list[Row]:
    return [
        Row(
            f"large-{name}/{backend}",
            f"messages of {size}",
            MEGABYTES,
            Task("ours", "large", {"count": STREAMED, "size": number}, backend),
            {
                "grpc.aio": Task("grpc_tls", "large", {"count": STREAMED // 2, "size": number}),
                "pyzmq CURVE, blocking": Task("zmq_blocking", "large", {"count": STREAMED // 2, "size": number}),
            },
            (Goal(">=", 600), Goal(">=", 1.2, "grpc.aio")),
        )
        for name, (size, number) in SIZES.items()
    ]
