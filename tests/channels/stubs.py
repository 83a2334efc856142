"""Ends that only say which one they are."""

from typing import Self

from chanlink.channels.values import End, Kind


class Stub(End):
    """An end that only says which one it is."""

    @property
    def is_void(self) -> bool:
        return False

    def __init__(self, kind: Kind = "receiver", stream_id: int = 0) -> None:
        self.kind = kind
        self.stream_id = stream_id

    def _check_movable(self, receiver: object, path: str) -> None: ...
    def check_sendable(self, path: str) -> None: ...
    def _lend(self) -> None: ...
    def _keep(self) -> None: ...
    def _moved(self) -> Self:
        return self

    def _forsake(self, code: str) -> None: ...
