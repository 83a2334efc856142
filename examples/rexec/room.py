"""Descriptors: as many as we may have, and some that are left for others."""

import errno
import os
import resource
from contextlib import suppress


def make_room() -> None:
    """Have as many descriptors as we may: the usual limit is made for small programs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def leave_room(descriptor: int, share: float) -> None:
    """For a part of the program that may want many, and has to stop before there are none.

    Raises `OSError` if this new descriptor is beyond that share of those that we may have.
    Its number says how many there are: the system gives out the lowest that is free.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and descriptor >= most * share:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
