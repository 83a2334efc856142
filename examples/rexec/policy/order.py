"""What is to run, once everything about it is decided; and how the guard is told."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..messages import Size
from .users import User


class Order(NamedTuple):
    """What to run, when everything about it is decided."""

    argv: Sequence[bytes]
    environment: Mapping[bytes, bytes]
    """All of it."""
    directory: bytes | None = None
    user: User | None = None
    """None: the server's own."""
    limits: Mapping[str, int] = {}
    terminal: Size | None = None

    def to_json(self, grace: float) -> bytes:
        """As the guard reads it."""
        order = {
            "argv": [word.decode("latin-1") for word in self.argv],
            "environment": [b"%b=%b" % entry for entry in self.environment.items()],
            "directory": self.directory,
            "user": None if self.user is None else self.user[:3],
            "terminal": self.terminal is not None,
            "limits": {name: most for name, most in self.limits.items() if name != "time"},
            "grace": grace,
        }
        return json.dumps(order, default=lambda word: word.decode("latin-1")).encode() + b"\n"
