"""What counts as bytes: anything with a buffer, counted in bytes, and nothing else."""

from typing import TypeVar

Part = bytes | bytearray | memoryview
"""Of bytes that nobody has joined."""
P = TypeVar("P", bound=Part)


def as_bytes(item: object) -> bytes:
    """The content of anything with bytes in it, such as an array of larger items. Raises `TypeError` for all else: of
    an int or a list `bytes` would make something, and of None nothing would be sent."""
    if type(item) is bytes:
        return item
    try:
        return bytes(memoryview(item))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"item must be bytes, or have a buffer of them, not {type(item).__name__}") from None


def cut(parts: list[P | memoryview], size: int) -> list[P | memoryview]:
    """Take the first `size` bytes out of `parts`, or all if they have no more; no byte is copied."""
    taken: list[P | memoryview] = []
    whole = 0
    for part in parts:
        if len(part) > size:
            if size:
                view = memoryview(part)
                taken.append(view[:size])
                parts[whole] = view[size:]
            break
        taken.append(part)
        size -= len(part)
        whole += 1
    del parts[:whole]
    return taken
