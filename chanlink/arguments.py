"""Arguments of the wrong type are a `TypeError` that names them."""

import re
from types import NoneType

_SPOKEN_AS_A_VOWEL = re.compile(r"_*([aeio]|un(?!i))", re.IGNORECASE)
"""But for a few, as those of abbreviations: ``a UUID`` is right, ``a SSHKey`` is not."""


def expect(name: str, value: object, *kinds: type) -> None:
    """A path in place of what was read from it is noticed at once, not by the first peer."""
    if not isinstance(value, kinds):
        wanted = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def with_article(kind: type) -> str:
    """The name of a type in a sentence: ``a list``, ``an object``."""
    name = kind.__name__
    return f"{'an' if _SPOKEN_AS_A_VOWEL.match(name) else 'a'} {name}"


def expect_function(name: str, value: object) -> None:
    """As `expect`, of what is called later, perhaps by a peer's doing."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {type(value).__name__}")
