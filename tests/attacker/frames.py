"""What a connection carries, as somebody without keys can see it (protocol sections 1 to 3)."""

from collections.abc import Iterator

MAGIC = b"chanlink"

HELLO, MESSAGE_1, MESSAGE_3, RECORD = 0, 1, 2, 3
"""The numbers of frames to the server; the first record and all that follow it count on."""
MESSAGE_2, WELCOME = 0, 1
"""And of those to the client."""


class Frames:
    """Cuts what comes one way into frames, each with its length in front. Only a client's way begins with a hello."""

    def __init__(self, *, hello: bool) -> None:
        self.rest = b""
        """Of a frame that is not whole yet."""
        self._head = len(MAGIC) + 1 if hello else 0

    def add(self, data: bytes) -> Iterator[bytes]:
        """The frames that these bytes complete."""
        data, begin = self.rest + data, 0
        while len(data) >= (body := begin + self._head + 2):
            end = body + int.from_bytes(data[body - 2 : body], "big")
            if end > len(data):
                break
            yield data[begin:end]
            begin, self._head = end, 0
        self.rest = data[begin:]
