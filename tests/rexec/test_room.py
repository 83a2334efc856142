"""Descriptors that are left for others."""

import resource

import pytest

from examples.rexec.room import leave_room, make_room
from tests.rexec.surroundings import crowded


def test_beyond_a_share_of_those_that_there_may_be_it_is_the_error_of_the_system() -> None:
    with crowded(200, 100):
        leave_room(99, 0.5)
        with pytest.raises(OSError, match="Too many open files"):
            leave_room(100, 0.5)
        leave_room(100, 0.75)


def test_there_can_be_made_as_much_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with crowded(200, 10):
        make_room()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
