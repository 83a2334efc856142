"""What the tests of the small programs share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .programs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Callable[[str], Programs]]:
    """Makes `Programs` of the name of a program below examples/."""
    made: list[Programs] = []

    def make(program: str) -> Programs:
        made.append(Programs(tmp_path, program))
        return made[-1]

    yield make
    for one in made:
        one.kill()
