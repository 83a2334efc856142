"""The plots of docs/explanation/performance.md, drawn by matplotlib: readable on white and on black."""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .ends import BACKENDS
from .results import Result, short

INK = "#808890"  # has contrast to both
OURS = "#2f9e6e"
THEIRS = "#7f8fa6"
OF_BACKEND = {"asyncio": "#2f9e6e", "uvloop": "#d9822b", "trio": "#5b7fd1"}
STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "font.size": 10,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "chanlink",  # the same figures make the same file
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
Rows = dict[str, Result]


class Bars(NamedTuple):
    """Rows beside their peers, one bar for each figure."""

    title: str
    axis: str
    rows: dict[str, str]
    """Names of rows, and what their bars are called."""


BARS = {
    "one-way": Bars(
        "100-byte maps one way: more is better",
        "messages/s",
        {f"one-way/{backend}": f"chanlink, {backend}" for backend in BACKENDS},
    ),
    "round-trip": Bars(
        "100 bytes there and back over TCP: less is better",
        "microseconds",
        {f"round-trip-tcp/{backend}": f"chanlink, {backend}" for backend in BACKENDS},
    ),
    "calls": Bars(
        "a message with a reply channel, and the reply: less is better",
        "milliseconds",
        {f"nested/{backend}": f"chanlink, {backend}" for backend in BACKENDS},
    ),
    "rexec": Bars(
        "1 GiB through a remote command: more is better",
        "MB/s",
        {"rexec-in": "rexec, in", "rexec-out": "rexec, out"},
    ),
    "bytes": Bars(
        "byte stream over a session: more is better",
        "MB/s",
        {
            f"bytes-{suite}/{backend}": f"chanlink, {name}, {backend}"
            for suite, name in (("aegis256", "AEGIS-256"), ("chachapoly", "ChaCha20-Poly1305"))
            for backend in BACKENDS
        },
    ),
}


def draw_all(rows: Rows, folder: Path) -> Iterator[Path]:
    """Draw what there are figures for; gives the files."""
    drawings: dict[str, Callable[[Axes], bool]] = {
        **{name: lambda axes, bars=bars: draw_bars(axes, rows, bars) for name, bars in BARS.items()},  # type: ignore[misc]
        "channels": lambda axes: draw_growth(axes, rows, "channels-growth", "microseconds of processor time", CHANNELS),
        "sessions": lambda axes: draw_growth(axes, rows, "sessions-growth", "microseconds", SESSIONS),
        "beside-bulk": lambda axes: draw_percentiles(axes, rows),
        "memory": lambda axes: draw_memory(axes, rows),
    }
    with plt.rc_context(STYLE):
        for name, draw in drawings.items():
            figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
            if draw(axes):
                path = folder / f"{name}.svg"
                figure.savefig(path, metadata={"Date": None, "Creator": None})
                yield path
            plt.close(figure)


# --- bars ---------------------------------------------------------------------------------------


def draw_bars(axes: Axes, rows: Rows, bars: Bars) -> bool:
    ours = {label: _figures(rows, name, "") for name, label in bars.rows.items()}
    theirs: dict[str, list[float]] = {}
    for name, label in bars.rows.items():
        for peer in rows[name].peers if name in rows else ():
            of = f"{peer}, {label.rpartition(', ')[2]}" if _differs(bars, peer) else peer
            theirs.setdefault(of, []).extend(_figures(rows, name, peer))
    shown = {label: figures for label, figures in {**ours, **theirs}.items() if figures}
    if not any(ours.values()):
        return False
    values = [statistics.median(figures) for figures in shown.values()]
    drawn = axes.barh(list(shown), values, color=[OURS if label in ours else THEIRS for label in shown])
    axes.bar_label(drawn, [short(value) for value in values], padding=3, color=INK)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.set(title=bars.title, xlabel=bars.axis)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 or not value else f"{value:g}")
    axes.figure.set_size_inches(7.5, 0.9 + 0.32 * len(shown))
    return True


def _differs(bars: Bars, peer: str) -> bool:
    """Whether a peer does another thing in each row: on the backend of the row, or in its direction."""
    return peer.startswith(("TCP", "anyio")) or ("rexec-in" in bars.rows and "dd" not in peer)


def _figures(rows: Rows, name: str, side: str) -> list[float]:
    return rows[name].runs[side].values if name in rows else []


# --- lines --------------------------------------------------------------------------------------

CHANNELS = ("cost of opening and closing a channel, by how many are open", "channels open in the session")
SESSIONS = ("round trip on one session, by how many others are idle", "idle sessions on the server")


def draw_growth(axes: Axes, rows: Rows, group: str, unit: str, texts: tuple[str, str]) -> bool:
    for backend, color in OF_BACKEND.items():
        if series := _more(rows, f"{group}/{backend}", "series"):
            axes.plot([point[0] for point in series], [point[1] for point in series], "o-", color=color, label=backend)
    axes.set(title=texts[0], xlabel=texts[1], ylabel=unit, xscale="log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return _finish(axes)


def draw_percentiles(axes: Axes, rows: Rows) -> bool:
    for backend, color in OF_BACKEND.items():
        for state, line in (("idle", ":"), ("loaded", "-")):
            if took := _more(rows, f"beside-bulk-up/{backend}", state):
                axes.plot(range(100), took[:100], line, color=color, label=f"{backend}, {state}")
    axes.set(
        title="round trip while a bulk stream fills the same session",
        xlabel="percentile",
        ylabel="microseconds",
        yscale="log",
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return _finish(axes)


def draw_memory(axes: Axes, rows: Rows) -> bool:
    for backend, color in OF_BACKEND.items():
        if series := _more(rows, f"slow-reader/{backend}", "series"):
            sent = [point[0] for point in series]
            axes.plot(sent, [point[1] + point[2] for point in series], color=color, label=backend)
    axes.set(
        title="memory of both ends together while a slow reader is fed",
        xlabel="MiB sent",
        ylabel="MiB in use",
    )
    return _finish(axes)


def _more(rows: Rows, name: str, key: str) -> list:  # type: ignore[type-arg]
    return rows[name].runs[""].more.get(key, []) if name in rows else []


def _finish(axes: Axes) -> bool:
    """Whether anything was drawn."""
    if not axes.lines:
        return False
    if axes.get_yscale() == "linear":
        axes.set_ylim(0, 1.1 * max(max(line.get_ydata()) for line in axes.lines))
    axes.grid()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return True
