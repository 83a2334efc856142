"""docs/explanation/performance.md: its table, between two marks, and its plots."""

from typing import Any

from . import results
from .ends import ROOT
from .meter import Missing
from .results import Result

PAGE = ROOT / "docs/explanation/performance.md"
PLOTS = ROOT / "docs/explanation/plots"
FIGURES = ROOT / "tests/bench/results.json"
"""Every single figure of the run that the page tells of."""
BEGIN, END = "<!-- The table: `python -m tests.bench --page` writes it. -->", "<!-- The end of the table. -->"


def write_table(about: dict[str, Any], found: list[Result]) -> None:
    """Put the table into the page, with what it was measured on, and keep all its figures."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE} has no place for the table")
    PAGE.write_text(f"{before}{BEGIN}\n\n{_measured_on(about)}\n\n{_compact(results.table(found))}\n\n{END}{after}")
    results.save(FIGURES, about, found)


def _measured_on(about: dict[str, Any]) -> str:
    return (
        f"Measured at {about['at']} on {about['cores']} cores, CPython {about['python']}, {about['on']}; load average"
        f" before the run {about['load before']:.1f}. The run took {about['seconds'] / 60:.0f} minutes."
    )


def _compact(table: str) -> str:
    """Without the spaces that align it."""
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return "\n".join("| " + " | ".join("---" if set(cell) == {"-"} else cell for cell in row) + " |" for row in rows)


def draw(found: list[Result]) -> None:
    """Draw every plot for which there are figures."""
    try:
        from . import plots
    except ImportError as exc:
        raise Missing(f"the plots need {exc.name}: pip install --group bench") from exc
    PLOTS.mkdir(exist_ok=True)
    for path in plots.draw_all({result.name: result for result in found}, PLOTS):
        print(path.relative_to(ROOT))
