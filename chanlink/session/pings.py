"""The PINGs of a session: those that wait for their answer, and when one is worth sending. No I/O and no clock."""

import math

import anyio

CHECK = 1.0
"""Seconds between two PINGs for `Session.check`: more would be a flood."""


class Ping:
    """One that was sent, at this time."""

    def __init__(self, number: int, began: float) -> None:
        self.payload = number.to_bytes(8, "big")
        self.began = began
        self.over = anyio.Event()
        """Set when it was answered, or when it won't be any more."""


class Pings:
    """Those of one session."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Ping] = {}
        self._count = 0
        self._checked = -math.inf

    def begin(self, now: float) -> Ping:
        """Another one, to be sent. No two are alike."""
        self._count += 1
        ping = Ping(self._count, now)
        self._waiting[ping.payload] = ping
        return ping

    def forget(self, ping: Ping) -> None:
        """Nobody waits for it any more."""
        del self._waiting[ping.payload]

    def answer(self, payload: bytes) -> Ping | None:
        """One came back: which it was, if somebody waits for it."""
        ping = self._waiting.get(payload)
        if ping is not None:
            ping.over.set()
        return ping

    def end(self) -> None:
        """None is answered any more."""
        for ping in self._waiting.values():
            ping.over.set()

    def checks(self, now: float) -> bool:
        """There is a reason to ask whether the peer is there: whether it is time to."""
        if now - self._checked <= CHECK:
            return False
        self._checked = now
        return True
