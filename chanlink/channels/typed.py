"""Types of items: what travels of an object, and what a message has to be to become one.

`converter_of` makes the converter of a type, which the cores of a typed channel keep (cores.py). What comes over a
session is checked as it is taken, and what goes out becomes plain data as it is encoded; in memory, the object itself
passes. msgspec does the work, and is imported when a type is given: a program without types does not need it.

An end in a field gets the converter of its type parameter: ``reply: Sender[Reply]``.
"""

import datetime
import functools
import re
import sys
from typing import Any, NoReturn, Protocol, TypeVar, cast, get_args, get_origin

from chanlink.arguments import expect
from chanlink.errors import ConfigError, DecodeError, EncodeError, MessageTypeError
from chanlink.limits import MAX_DEPTH

from .cores import Converter
from .objects import all_ends
from .type_hints import Found
from .values import End, count_plain

_KEPT = (bytes, bytearray, memoryview, datetime.datetime)
"""What goes out as it is, besides ends: msgspec would make text of it."""
_TAKEN = (bytes, datetime.datetime)
"""What comes in as itself, and of which it makes nothing else: no bytes of a str."""
_KNOWN_TYPES = 1_024
"""Types of which the converter is remembered."""


def converter_of(item_type: Any, *, check: bool = False) -> "TypeConverter | None":
    """The converter of a type; None if it is `Any`. With `check`, what goes out is checked, too.

    Raises `InterfaceError` when messages can't be of this type, `ConfigError` when there is no msgspec.
    """
    if check is not False:
        expect("check", check, bool)
    if item_type is Any:
        return None
    _need_msgspec()
    try:
        hash(item_type)
    except TypeError:  # of what is in an ``Annotated``, say
        return _made(item_type, check, {})
    return _remembered(item_type, check)


def _need_msgspec() -> None:
    try:
        import msgspec  # noqa: F401
    except ImportError:
        raise ConfigError('types of messages need msgspec: pip install "chanlink[typed]"') from None


@functools.lru_cache(_KNOWN_TYPES)  # a reply channel is made for each request: looking through a type takes 100 us
def _remembered(item_type: Any, check: bool) -> "TypeConverter":
    return _made(item_type, check, {})


def _made(item_type: Any, check: bool, inner: "dict[Any, TypeConverter | None]") -> "TypeConverter":
    found = Found(item_type)
    for end in found.ends:
        if end not in inner:
            inner[end] = None  # a type may hold a channel of itself
            args = get_args(end)
            if args and args[0] is not Any and not isinstance(args[0], TypeVar):
                inner[end] = _made(args[0], check, inner)
    return TypeConverter(item_type, found, inner, check=check)


class _Unknown(Exception):
    """msgspec has met an object that it knows nothing of."""

    def __init__(self, kind: type) -> None:
        self.kind = kind


def _unknown(item: object) -> NoReturn:
    raise _Unknown(type(item))


class TypeConverter:
    """A `Converter` by a type."""

    def __init__(self, item_type: Any, found: Found, inner: "dict[Any, TypeConverter | None]", *, check: bool) -> None:
        import msgspec

        self._msgspec = msgspec
        self.item_type = item_type
        self.checks = check
        self.may_hold_ends = found.may_hold_ends
        self._inner = inner
        self._kept: tuple[type, ...] = (*_KEPT, *{get_origin(end) or end for end in found.ends})
        self._is_data = not (found.ends or found.is_custom or found.has_taken)
        """Whether msgspec needs no help: it takes a quarter of a microsecond for each call."""
        # msgspec looks through any type but a struct anew for each value, and through the fields of a struct once.
        self._boxed = not hasattr(item_type, "__struct_fields__")
        self._type = item_type
        if self._boxed:
            self._type = msgspec.defstruct("Item", [("item", item_type)], array_like=True, gc=False)

    def __repr__(self) -> str:
        return f"<the converter of {self.item_type!r}>"

    # --- out ---

    def outgoing(self, value: Any) -> Any:
        """What travels: plain data, and ends. Raises `EncodeError`; `MessageTypeError` if this checks."""
        plain = self._plain(value)
        if self.checks:
            self._convert(plain, _is_end)
        return plain

    def _plain(self, value: Any) -> Any:
        kept = self._kept
        while True:
            try:
                return self._msgspec.to_builtins(value, builtin_types=kept, enc_hook=_unknown)
            except _Unknown as exc:
                kept = (*kept, exc.kind)  # a file, say: whoever encodes it knows what can be sent, and where it stands
                if issubclass(exc.kind, End):
                    self._kept = kept
            except RecursionError:
                raise EncodeError("it nests too deep") from None
            except (TypeError, ValueError) as exc:
                raise EncodeError(str(exc)) from None

    # --- in ---

    def incoming(self, value: Any) -> Any:
        """The object that a message becomes. Raises `MessageTypeError`; `DecodeError` for what nests too deep.

        Ends in it are typed from now on. What becomes of those that it has no place for is the caller's affair.
        """
        return self._convert(value, self._typed_end)

    def _convert(self, value: Any, end: Any) -> Any:
        item = (value,) if self._boxed else value
        try:
            if self._is_data:
                made = self._msgspec.convert(item, self._type)
            else:
                made = self._msgspec.convert(item, self._type, builtin_types=_TAKEN, dec_hook=end)
        except self._msgspec.ValidationError as exc:
            raise misfit(str(exc), boxed=self._boxed) from None  # msgspec's own words may quote the value
        except RecursionError:
            raise DecodeError("a message that nests too deep for its type") from None
        return made.item if self._boxed else made

    def _typed_end(self, wanted: Any, value: Any) -> Any:
        _is_end(wanted, value)
        if wanted not in self._inner:  # of a generic class, whose parameter was looked through unknown
            args = get_args(wanted)
            self._inner[wanted] = _made(args[0], self.checks, self._inner) if args else None
        converter = self._inner[wanted]
        if converter is not None:
            cast(_Typed, value)._converts_by(converter)
        return value


class _Typed(Protocol):
    def _converts_by(self, converter: Converter) -> None: ...


def _is_end(wanted: Any, value: Any) -> Any:
    """As msgspec has it: the value of a field of a class that it does not know. Raises `TypeError`."""
    kind = get_origin(wanted) or wanted
    if not isinstance(value, kind):
        raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    return value


def take_ends(converter: Converter, value: Any) -> Any:
    """As `incoming`; ends that the object has no place for are refused, or all if it fails."""
    if count_plain(value, MAX_DEPTH, sys.maxsize):  # there are none
        return converter.incoming(value)
    ends, kept = all_ends(value), dict[int, End]()
    try:
        made = converter.incoming(value)
        if converter.may_hold_ends:
            kept = all_ends(made)
        return made
    finally:
        for identity, end in ends.items():
            if identity not in kept:
                end._forsake("not-taken", "the type of the message has no place for it")


# --- what msgspec says ---------------------------------------------------------------------------

_WHERE = re.compile(r" - at (`key` in )?`\$([^`]*)`$")
_SAFE = re.compile(
    r"Expected `[\w |]+`"
    r"(, got `[\w.]+`| of (at least |at most )?length [\d to<>=]+(, got \d+)?| [<>=]+ -?[\d.e+-]+"
    r"| that's a multiple of [\d.]+| with (a|no) timezone component| matching regex .*)?"
    r"|Expected a hashable value, got `[\w.]+`"
    r"|Invalid (UUID( bytes)?|decimal string|RFC3339 encoded (date|time|datetime)|ISO8601 duration)"
    r"|(Duration|Integer value|Number) (is )?out of range"
    r"|Object missing required field `[^`]*`",
    re.DOTALL,
)
"""What is said without a word of the message."""
_QUOTES = {
    "Invalid enum value": "none of the values that it may have",
    "Invalid value": "none of the tags that it may have",
    "Object contains unknown field": "a field that its type does not have",
}
"""What is said with some, and what we say instead."""
_NAMES = {"object": "map", "array": "list", "null": "None", "NoneType": "None"}


def misfit(text: str, *, boxed: bool = False) -> MessageTypeError:
    """The error for what msgspec said of a message: where, and what was expected there; never what was there."""
    found = _WHERE.search(text)
    path, key = (found[2], bool(found[1])) if found else ("", False)
    said = text[: found.start()] if found else text
    if boxed:
        path = path.removeprefix("[0]")
    if _SAFE.fullmatch(said):
        said = re.sub(r"`(\w+)`", lambda name: _NAMES.get(name[1], name[1]), said).replace("`", "")
        problem = (said[0].lower() + said[1:]).replace("object missing required", "it misses the")
    else:  # what its class says itself may quote the value, too
        problem = next((ours for theirs, ours in _QUOTES.items() if said.startswith(theirs)), "its class refuses it")
    return MessageTypeError(f"a key: {problem}" if key else problem, path.removeprefix("."))
