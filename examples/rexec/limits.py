"""What a command may use at most."""

import re
from collections.abc import Mapping

SECONDS, BYTES, COUNT = "seconds", "bytes", "count"
NAMES = {
    "processor": SECONDS,  # of each of its processes; then XCPU, and KILL after the grace
    "memory": BYTES,  # of address space of each of its processes
    "files": COUNT,  # open at a time in each of its processes
    "processes": COUNT,  # of the user that it runs as, in total; the system does not hold root to it
    "time": SECONDS,  # from its start; then it is stopped
}
UNITS = {
    SECONDS: {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400},
    BYTES: {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40},
    COUNT: {"": 1},
}
MOST = {SECONDS: 3650 * 86400, BYTES: 2**60, COUNT: 2**31 - 1}
"""By the unit. The system counts the nanoseconds of a processor in 64 bits, and overflows in silence."""


def checked(name: str, most: int) -> int:
    """A limit, which comes from outside. Raises `ValueError` with a line for whoever wrote it."""
    unit = _unit(name)
    if not 1 <= most <= MOST[unit]:
        raise ValueError(f"a limit of {name} has to be 1 to {MOST[unit]} {unit}")
    return most


def read_limit(name: str, text: str) -> int:
    """A limit as people write it: ``512M``, ``10m``, ``100``. Raises `ValueError` with a line for them."""
    units = UNITS[_unit(name)]
    match = re.fullmatch(r"([0-9]{1,15})([A-Za-z]?)", text)
    if match is None or match[2] not in units:
        with_unit = [f"100{unit}" for unit in units if unit] or ["100"]
        raise ValueError(f"{text[:40]!r} is not a limit of {name}: write it as {' or '.join(with_unit)}")
    return checked(name, int(match[1]) * units[match[2]])


def _unit(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"there is no limit {name[:40]!r}; there are {', '.join(NAMES)}")
    return NAMES[name]


def lowered(limits: Mapping[str, int], asked: Mapping[str, int]) -> dict[str, int]:
    """``limits`` with the lower ones that were asked for. Raises `ValueError` when one is higher."""
    for name, most in asked.items():
        if most > limits.get(name, most):
            raise ValueError(f"the limit of {name} is {limits[name]} {NAMES[name]} at most")
    return {**limits, **asked}
