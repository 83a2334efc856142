"""What a server may run in, and whether we can make it here."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def can(*command: str) -> bool:
    """Whether we may use it here."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


@contextmanager
def crowded(most: int, lowest: int) -> Iterator[list[int]]:
    """This process may have ``most`` descriptors, and the next one has a number of at least ``lowest``."""
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
