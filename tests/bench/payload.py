"""What is sent: the same for all peers."""

from typing import Any

from anyio.abc import ByteStream

from .meter import Meter

TEXT = "y" * 85
TINY = b"z" * 100
PIECE = 65_536
FIRST = 100_000  # so that each number has as many bytes as the others


def message(n: int) -> dict[str, Any]:
    """A map of 100 bytes, as msgpack has it."""
    return {"n": FIRST + n, "text": TEXT}


def large_message(n: int, body: bytes) -> dict[str, Any]:
    return {"n": FIRST + n, "body": body}


FLAT = "flat map"
DATA: dict[str, Any] = {
    FLAT: {"id": FIRST, "name": "Ada", "price": 2.5, "count": 3, "note": "n" * 53},
    "list in a map": {"id": FIRST, "name": "Ada", "tags": ["red", "green", "blue"], "note": "n" * 54},
    "map in a map": {"id": FIRST, "name": "Ada", "at": {"x": 1.5, "y": 2, "z": 3}, "note": "n" * 54},
    "list of maps": [{"id": FIRST + n, "name": "Lady A Lovelace", "n": n} for n in range(3)],
}
"""Plain data of 100 bytes each, as msgpack has it."""


async def pour(stream: ByteStream, meter: Meter, count: int) -> None:
    """So many bytes into a stream, until the one byte comes that says that all have been read."""
    piece = bytes(PIECE)
    with meter.over(count // PIECE * PIECE):
        for _ in range(count // PIECE):
            await stream.send(piece)
        await stream.send_eof()
        await stream.receive()
