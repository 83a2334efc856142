"""What the figures of the table are in."""

from collections.abc import Callable
from typing import NamedTuple

from .ends import Outcome


class Unit(NamedTuple):
    """A unit: how a figure follows from a run, and the processor time of both ends with it."""

    name: str
    value: Callable[[Outcome], float]
    less_is_better: bool
    cpu_name: str = ""
    """What the processor time is in; none where it says nothing."""
    cpu_scale: float = 0.0

    def cpu(self, outcome: Outcome) -> float | None:
        """Processor time by what was counted."""
        if outcome.cpu is None or not self.cpu_scale:
            return None
        return outcome.cpu / outcome.count * self.cpu_scale


def _rate(scale: float) -> Callable[[Outcome], float]:
    return lambda outcome: outcome.count / outcome.wall / scale


def _time(scale: float) -> Callable[[Outcome], float]:
    return lambda outcome: outcome.wall / outcome.count * scale


def figure(name: str, *, less_is_better: bool = True) -> Unit:
    """For what a work has found itself."""
    return Unit(name, _rate(1), less_is_better)


MESSAGES = Unit("messages/s", _rate(1), False, "us each", 1e6)
CALLS = Unit("a second", _rate(1), False, "us each", 1e6)
FILES = Unit("files/s", _rate(1), False, "us each", 1e6)
MEGABYTES = Unit("MB/s", _rate(1e6), False, "s/GB", 1e9)
MICROSECONDS = Unit("us", _time(1e6), True, "us each", 1e6)
MILLISECONDS = Unit("ms", _time(1e3), True, "ms each", 1e3)
