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


async def pour(stream: ByteStream, meter: Meter, count: int) -> None:
    """So many bytes into a stream, until the one byte comes that says that all have been read."""
    piece = bytes(PIECE)
    with meter.over(count // PIECE * PIECE):
        for _ in range(count // PIECE):
            await stream.send(piece)
        await stream.send_eof()
        await stream.receive()
