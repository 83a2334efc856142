"""The connections that a session has had: what went over them, and those that have to be closed yet."""

from chanlink.security.noise_stream import NoiseStream
from chanlink.transport.base import close_at_once


class Past:
    """What is known of one connection after the other. What they had in all is a sum with ``now``, the one there is."""

    def __init__(self) -> None:
        self.begun = 0
        """How many there were, with the one there is."""
        self._volume = 0
        self._epochs = 0
        self._given_up: list[NoiseStream] = []

    def begin(self) -> None:
        """There is one more."""
        self.begun += 1

    def give_up(self, connection: NoiseStream) -> None:
        """It is one of the past, and closed by the next `close`."""
        self._volume += connection.volume
        self._epochs += connection.epoch
        self._given_up.append(connection)

    async def close(self) -> None:
        """Close those that were given up, without a word."""
        while self._given_up:
            await close_at_once(self._given_up.pop())

    def volume(self, now: NoiseStream | None) -> int:
        """Bytes under all keys, both directions and tags together."""
        return self._volume + (now.volume if now is not None else 0)

    def epoch(self, now: NoiseStream | None) -> int:
        """How often there were new keys. A new connection has new keys, too."""
        return self._epochs + self.begun - 1 + (now.epoch if now is not None else 0)
