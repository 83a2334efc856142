"""`cancel_when_over`: work that is wanted only as long as the far side of an end is there."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from anyio import CancelScope

from .handle import Handle


def cancel_when_over(end: Handle) -> AbstractContextManager[CancelScope]:
    """Cancel the block when the far side of ``end`` is gone, as `Handle.closing` has it; gives the block's scope.

    For a sender: the receiver is gone. For a receiver: everything was taken, and nothing will come any more. For a byte
    stream: the other side reads no more. The block is left by a cancellation then, which goes no further; the scope's
    ``cancelled_caught`` says so, and what became of the end its next use. No task is started. Once the end is closed
    or sent away by this side, nothing is watched any more. Raises `TypeError`, `ChannelClosed`, `ChannelMoved`.
    """
    if not isinstance(end, Handle):
        raise TypeError(f"end must be an end of a channel or byte stream, not {type(end).__name__}")
    return _Watch(end)


class _Watch(AbstractContextManager[CancelScope]):
    """A waiter at the core of an end, and the scope that it cancels."""

    def __init__(self, end: Handle) -> None:
        self._end = end
        self._core = end._cores()[0]  # of a byte stream: that of its sending half
        self._scope = CancelScope()

    def __enter__(self) -> CancelScope:
        self._end._check_open()
        self._core.loop.watch()
        self._scope.__enter__()
        self.set()
        return self._scope

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        self._core.watchers.discard(self)
        return bool(self._scope.__exit__(exc_type, exc, tb))

    # --- as a waiter ---

    def set(self) -> None:
        """Look; and wait on, if it is not over."""
        if self._end.is_void:
            return
        if self._core.over() is not None:
            self._scope.cancel()
        else:
            self._core.watchers.add(self)

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        raise AssertionError("this takes nothing")
