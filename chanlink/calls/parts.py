"""The typed parts of requests and replies: arguments, a result, an item of a stream, the detail of an error."""

from typing import Any

from chanlink.channels.typed import converter_of, take_ends
from chanlink.errors import DecodeError, MessageTypeError

_PLAIN = (bool, int, float, str, bytes, None, type(None))


def travels_as_it_is(annotation: Any) -> bool:
    """Whether nothing has to be made of values of this type. (If one is of another, its encoder says so.)"""
    return annotation in _PLAIN


class Part:
    """From values of one type to what a message may hold, and back.

    Raises `InterfaceError` when there are no messages of this type, and `ConfigError` when there is no msgspec.
    """

    def __init__(self, name: str, annotation: Any, *, as_it_is: bool = False) -> None:
        self._name = name
        self._converter = converter_of(annotation)
        self._as_it_is = as_it_is or travels_as_it_is(annotation)

    def outgoing(self, value: Any) -> Any:
        """What travels. Raises `EncodeError`."""
        if self._as_it_is or self._converter is None:
            return value
        return self._converter.outgoing(value)

    def incoming(self, value: Any) -> Any:
        """The value of what has arrived. Ends that it has no place for are refused, or all if it is none.

        Raises `MessageTypeError`, whose path begins with the name of this part.
        """
        converter = self._converter
        if converter is None:
            return value
        try:
            return take_ends(converter, value)
        except MessageTypeError as exc:
            raise MessageTypeError(exc.problem, self._place(exc.path)) from None
        except DecodeError as exc:
            raise MessageTypeError(str(exc), self._name) from None

    def _place(self, path: str) -> str:
        return f"{self._name}.{path}" if path and not path.startswith("[") else f"{self._name}{path}"
