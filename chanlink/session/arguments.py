"""Arguments of the wrong type are a `TypeError` that names them."""

from types import NoneType


def expect(name: str, value: object, *kinds: type) -> None:
    """A path in place of what was read from it is noticed at once, not by the first peer."""
    if not isinstance(value, kinds):
        wanted = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
