"""One call that instruments are told of: what begins it, and the one thing that has become of it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from chanlink.errors import CallFailed, CallLost, CallRefused, as_code
from chanlink.instrument import CallInfo, CallOutcome, Instrument, Instruments

from .messages import check_context
from .method import Method


class Told:
    """A call that was begun; told to be over once. As a block, around what is done for its result."""

    def __init__(
        self, instruments: Instruments, method: Method, *, serves: bool, peer: str = "", context: Mapping[str, str]
    ) -> None:
        self._tell = instruments.tell
        self._open = True
        self._added: dict[str, str] = {}
        self._info = CallInfo(method.interface, method.name, method.is_stream, serves, peer, context)
        for answer in self._tell(Instrument.call_begun, self._info):
            self._added.update(answer or {})

    def with_added(self, context: Mapping[str, str]) -> Mapping[str, str]:
        """What travels: what the program says, and what instruments have added, if there is room for both."""
        joined = {**self._added, **context}
        try:
            check_context(joined)
        except (TypeError, ValueError):
            return context
        return joined

    def ended(self, outcome: CallOutcome, code: str = "") -> None:
        if self._open:
            self._open = False
            self._tell(Instrument.call_ended, self._info, outcome, code)

    def ended_by(self, error: BaseException | None) -> None:
        """It has raised this, or nothing."""
        match error:
            case None | StopAsyncIteration():
                self.ended("ok")
            case CallFailed():
                self.ended("failed", error.code)
            case CallRefused():
                self.ended("refused", error.code)
            case CallLost():
                self.ended("lost")
            case Exception():  # of this side: what can't be sent, say
                self.ended("failed", as_code(type(error).__name__))
            case _:
                self.ended("cancelled")

    def answered(self, answer: Mapping[str, Any]) -> None:
        """This was replied."""
        if (code := answer.get("refused")) is not None:
            self.ended("refused", code)
        elif (code := answer.get("failed")) is not None:
            self.ended("cancelled" if code == "cancelled" else "failed", code)
        else:
            self.ended("ok")

    def __enter__(self) -> "Told":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended_by(error)

    def __del__(self) -> None:
        self.ended("cancelled")  # a stream that was forgotten
