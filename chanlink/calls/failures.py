"""`Failures`: the errors that both sides of an interface have agreed upon, and how they travel."""

from collections.abc import Iterable
from typing import Any, NamedTuple, get_type_hints

from chanlink.errors import MAX_CODE, CallFailed, InterfaceError, as_code

from .messages import refuse_ends
from .parts import Part

OUR_CODES = frozenset(["handler-failed", "deadline", "cancelled"])
"""What a call fails with that has raised nothing of these."""


class _Failure(NamedTuple):
    error: type[CallFailed]
    detail: Part


class Failures:
    """The classes in ``raises``, by their codes. Raises `InterfaceError` for what can't be one."""

    def __init__(self, raises: Iterable[type[CallFailed]]) -> None:
        self._by_code: dict[str, _Failure] = {}
        for error in raises:
            _check(error)
            if (other := self._by_code.get(error.code)) is not None:
                raise InterfaceError(
                    f"raises: {other.error.__name__} and {error.__name__} have the same code, {error.code!r}"
                )
            self._by_code[error.code] = _Failure(error, _detail_of(error))

    def failure_of(self, error: BaseException) -> tuple[str, str, Any] | None:
        """Code, text and detail as they travel; None for what was not agreed upon. A subclass travels as its base.

        Raises what a message raises that holds what can't be sent.
        """
        for cls in type(error).__mro__:
            failure = self._by_code.get(cls.code) if issubclass(cls, CallFailed) else None
            if failure is not None and failure.error is cls:
                assert isinstance(error, CallFailed)
                detail = error.detail
                return cls.code, error.text, None if detail is None else failure.detail.outgoing(detail)
        return None

    def error_of(self, code: str, text: str, detail: Any) -> CallFailed:
        """The error that has arrived; a plain `CallFailed` if it was not agreed upon. Ends in a detail that it has no
        place for are refused.

        Raises `MessageTypeError` when its detail is not of the type that was agreed upon.
        """
        failure = self._by_code.get(code)
        if failure is None:
            refuse_ends(detail, "not-taken", "the failure that it came with was not agreed upon")
            return CallFailed(text, code=code)
        return failure.error(text, None if detail is None else failure.detail.incoming(detail))


def _check(error: object) -> None:
    if not isinstance(error, type) or not issubclass(error, CallFailed) or error is CallFailed:
        raise InterfaceError(f"raises: subclasses of CallFailed are wanted, not {error!r:.70}")
    code = error.code
    if not isinstance(code, str) or len(code) > MAX_CODE or as_code(code) != code:
        raise InterfaceError(f"raises: {error.__name__}: a code is short words with hyphens, not {code!r:.70}")
    if code in OUR_CODES:
        raise InterfaceError(f"raises: {error.__name__}: the code {code!r} means something else already")


def _detail_of(error: type[CallFailed]) -> Part:
    try:
        annotation = get_type_hints(error, include_extras=True)["detail"]
    except Exception as exc:  # whatever the evaluation of somebody's annotations raises
        raise InterfaceError(f"raises: {error.__name__}: its annotations can't be evaluated ({exc})") from exc
    try:
        return Part("detail", annotation)
    except InterfaceError as exc:
        raise InterfaceError(f"raises: {error.__name__}.detail: {exc}") from exc
