"""A layer between a session and what is below it that does nothing: what any layer there costs at least."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from chanlink.bytes_like import Part
from chanlink.security.stream import SecureStream


class Through(SecureStream):
    """Hands everything on, by one more call for each."""

    def __init__(self, below: SecureStream) -> None:
        self._below = below

    def on_output(self, wake: Callable[[], None]) -> None:
        self._below.on_output(wake)

    @property
    def peer_close(self) -> tuple[str, str]:
        return self._below.peer_close

    @property
    def can_send_now(self) -> bool:
        return self._below.can_send_now

    def send_now(self, parts: Iterable[Part]) -> bool:
        return self._below.send_now(parts)

    def has_output(self) -> bool:
        return self._below.has_output()

    async def send(self, item: bytes) -> None:
        await self._below.send(item)

    async def send_parts(self, parts: Sequence[Part]) -> None:
        await self._below.send_parts(parts)

    async def send_close(self, code: str, text: str = "") -> None:
        await self._below.send_close(code, text)

    async def send_eof(self) -> None:
        await self._below.send_eof()

    @property
    def sent_at(self) -> float:
        return self._below.sent_at

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        return await self._below.receive(max_bytes)

    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        await self._below.receive_all(take)

    async def aclose(self) -> None:
        await self._below.aclose()

    def clock(self) -> float:
        return self._below.clock()

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        self._below.check_time(overdue)

    def peer_acknowledges(self, seconds: float) -> bool:
        return self._below.peer_acknowledges(seconds)

    def export(self, label: str, length: int) -> bytes:
        return self._below.export(label, length)

    @property
    def suite(self) -> str:
        return self._below.suite

    @property
    def volume(self) -> int:
        return self._below.volume

    @property
    def extra_attributes(self) -> Any:
        return self._below.extra_attributes
