"""The first three file descriptors.  Imports next to nothing."""

import os


def fill_standard_descriptors() -> None:
    """A descriptor that the caller has closed is opened: else our connection could become standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
