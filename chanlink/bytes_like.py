"""What counts as bytes: anything with a buffer, counted in bytes, and nothing else."""


def as_bytes(item: object) -> bytes:
    """The content of anything with bytes in it, such as an array of larger items. Raises `TypeError` for all else: of
    an int or a list `bytes` would make something, and of None nothing would be sent."""
    return item if type(item) is bytes else bytes(memoryview(item))  # type: ignore[arg-type]
