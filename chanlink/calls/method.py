"""`Method`: what a call carries of its arguments and its result, and how they become a message and come back.

Arguments travel by name, in a map, however they were given: so parameters can change their order, and what the caller
leaves out is left out of the message, where the default of the implementation holds. The names are those of the
interface, also of what is written before a ``/``.
"""

import dataclasses
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any

from chanlink.errors import MessageTypeError

from .parts import Part


class Parameters:
    """The parameters of a method, without ``self``: from the arguments of a call to a map, and back."""

    def __init__(self, name: str, signature: Signature, arguments: Part) -> None:
        parameters = signature.parameters.values()
        self._name = name
        self.signature = signature
        self._arguments = arguments
        """The map of them."""
        self._names = {one.name for one in parameters}
        self._required = {one.name for one in parameters if one.default is Parameter.empty}
        self._by_position = [one.name for one in parameters if one.kind is not Parameter.KEYWORD_ONLY]
        self._never_by_name = [one.name for one in parameters if one.kind is Parameter.POSITIONAL_ONLY]

    def pack(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(zip(self._by_position, args, strict=False))
        if kwargs or len(given) != len(args) or given.keys() != self._names:  # not all are there, by position
            given.update(kwargs)
            self._check_call(given, args, kwargs)
        return self._arguments.outgoing(given)  # type: ignore[no-any-return]

    def _check_call(self, given: dict[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if (
            len(given) < len(args) + len(kwargs)  # too many, or one of them twice
            or not self._required <= given.keys() <= self._names
            or not kwargs.keys().isdisjoint(self._never_by_name)
        ):
            raise self._wrong_call(args, kwargs)

    def _wrong_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TypeError:
        if by_name := [one for one in self._never_by_name if one in kwargs]:  # `bind` of Python 3.13.0 takes some
            names = ", ".join(by_name)
            return TypeError(
                f"{self._name}() got some positional-only arguments passed as keyword arguments: '{names}'"
            )
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as exc:  # Python knows the words
            return TypeError(f"{self._name}(): {exc}")
        raise AssertionError("this call is right")

    def unpack(self, value: Any) -> tuple[list[Any], dict[str, Any]]:
        if type(value) is not dict:
            raise MessageTypeError("a map was expected", "arguments")
        if value.keys() != self._names:
            self._check_names(value)
        given = self._arguments.incoming(value)
        return self._without_names(given) if self._never_by_name else [], given

    def _check_names(self, value: dict[Any, Any]) -> None:
        if not value.keys() <= self._names:
            raise MessageTypeError("there is one that this method does not have", "arguments")
        if missing := self._required - value.keys():
            raise MessageTypeError("it is missing", f"arguments.{min(missing)}")

    def _without_names(self, given: dict[str, Any]) -> list[Any]:
        """Take those out that can be given by position only."""
        args: list[Any] = []
        for number, name in enumerate(self._never_by_name):
            if name in given:
                if len(args) < number:
                    raise MessageTypeError("it is missing", f"arguments.{self._never_by_name[len(args)]}")
                args.append(given.pop(name))
        return args


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """One method of an interface. Made by `Interface`, and used by both sides of a call."""

    name: str
    parameters: Parameters
    result: Part
    """Of the result; of a stream: of each item."""
    is_stream: bool
    """Whether it gives a stream of results: an async generator."""
    idempotent: bool
    """Whether a call may be made again when nobody knows whether it ran."""
    finishes: bool
    """Whether a call that has begun goes on when its caller leaves."""
    longest: float | None
    """The seconds that such a call has at most."""
    interface: str
    """The name of the protocol."""

    def pack(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call as they travel.

        Raises `TypeError` as Python does for a call that does not fit the signature, and `EncodeError`.
        """
        return self.parameters.pack(args, kwargs)

    def unpack(self, value: Any) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, by position and by name, of what has arrived; what was left out is not among them.

        Raises `MessageTypeError`, with where it stands (``arguments.body.x``), for what is not of the types of the
        parameters, for missing arguments, and for those that there are no parameters for.
        """
        return self.parameters.unpack(value)
