"""The plots of docs/explanation/performance.md, drawn by matplotlib from the figures that are kept.

They stand inside the pages of the site, and are as narrow as a telephone.
"""

import io
import re
import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .ends import BACKENDS
from .results import Result, short

INK = "#010203"
"""A colour of no meaning, which becomes that of the page's letters."""
WIDTH = 4.8
"""Inches."""
OURS = "#2f9e6e"
THEIRS = "#7f8fa6"
OF_BACKEND = {"asyncio": "#2f9e6e", "uvloop": "#d9822b", "trio": "#5b7fd1"}
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.transparent": True,
    "svg.fonttype": "none",
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


def draw(name: str, rows: Rows) -> str:
    """A plot as a piece of a page. Raises `LookupError` when there are no figures for it."""
    salt = {"svg.hashsalt": name}  # names inside a picture are those of the whole page
    with plt.rc_context(STYLE | salt):
        figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
        drawn = PLOTS[name](axes, rows)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    if not drawn:
        raise LookupError(f"no figures for {name}")
    svg = file.getvalue()
    width = f'style="width: 100%; max-width: {WIDTH * 120:.0f}px" fill="currentColor"'
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg {width} \1>", svg[svg.index("<svg") :], count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace(INK, "currentColor").replace("xlink:href", "href")


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
    places = range(len(shown))
    drawn = axes.barh(places, values, height=0.4, color=[OURS if label in ours else THEIRS for label in shown])
    axes.bar_label(drawn, [short(value) for value in values], padding=3, color=INK)
    for place, label in zip(places, shown, strict=True):  # above its bar, so that the bars have the whole width
        axes.text(0, place - 0.3, f" {label}", va="bottom")
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_ylim(len(shown) - 0.6, -0.9)
    axes.set_yticks([])
    axes.spines.left.set_visible(False)
    axes.grid(axis="x")
    axes.set(title=bars.title, xlabel=bars.axis)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 or not value else f"{value:g}")
    axes.figure.set_size_inches(WIDTH, 0.9 + 0.4 * len(shown))
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
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:,.0f}")
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
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=3, columnspacing=1.2)
    return True


PLOTS: dict[str, Callable[[Axes, Rows], bool]] = {
    **{name: partial(draw_bars, bars=bars) for name, bars in BARS.items()},
    "channels": partial(draw_growth, group="channels-growth", unit="microseconds of processor time", texts=CHANNELS),
    "sessions": partial(draw_growth, group="sessions-growth", unit="microseconds", texts=SESSIONS),
    "beside-bulk": draw_percentiles,
    "memory": draw_memory,
}
