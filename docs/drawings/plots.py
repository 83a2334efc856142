"""The plots of the benchmarks, from the figures that are kept."""

from collections.abc import Callable
from functools import partial

from tests.bench import page, results

NAMES = ("one-way", "round-trip", "calls", "rexec", "bytes", "channels", "sessions", "beside-bulk", "memory")


def plot(name: str) -> str:
    from tests.bench import plots  # with matplotlib, which takes a second

    _, found = results.load(page.FIGURES)
    return plots.draw(name, {result.name: result for result in found})


PLOTS: dict[str, Callable[[], str]] = {f"plot-{name}": partial(plot, name) for name in NAMES}
