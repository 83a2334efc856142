"""Descriptors that are left for others."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from examples.rexec.room import leave_room


@contextmanager
def crowded(most: int, lowest: int) -> Iterator[list[int]]:
    """This process may have so many descriptors, and the next one has a number that is not below the lowest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while held[-1] < lowest - 1:
            held.append(os.dup(held[0]))
        yield held
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)


def test_beyond_a_share_of_those_that_there_may_be_it_is_the_error_of_the_system() -> None:
    with crowded(200, 100):
        leave_room(99, 0.5)
        with pytest.raises(OSError, match="Too many open files"):
            leave_room(100, 0.5)
        leave_room(100, 0.75)
