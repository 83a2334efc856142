"""Descriptors are left for others: a part of the program that may want many stops before there are none."""

import errno
import os
import resource


def leave_room(descriptor: int, share: float) -> None:
    """Raises `OSError` if this new descriptor is beyond that share of those that we may have.

    Its number says how many there are: the system gives out the lowest that is free.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and descriptor >= most * share:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
