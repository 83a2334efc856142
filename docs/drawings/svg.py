"""Pieces of SVG that take their colours and letters from the page around them."""

import html
from collections.abc import Iterable

INK = "currentColor"
GREEN, ORANGE, BLUE, RED, GREY = "#2f9e6e", "#d9822b", "#5b7fd1", "#d05050", "#8a939c"
"""Readable on white and on black. Areas are filled with them thinly (`FAINT`)."""
FAINT = "0.14"
SIZE = 12
"""The height of letters."""
SMALL = 10.5


def picture(width: float, height: float, parts: Iterable[str], *, scale: float = 1.15) -> str:
    """A whole picture: as wide as the page has room for, and no wider than it looks well."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="width: 100%; max-width: {width * scale:.0f}px"'
        f' font-size="{SIZE}" fill="{INK}">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", size: float = SIZE, faint: bool = False) -> str:
    """One line; `y` is where its letters stand."""
    how = (f' font-size="{size:g}"' if size != SIZE else "") + (' opacity="0.8"' if faint else "")
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{how}>{html.escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, color: str = GREY) -> str:
    """A rectangle with round corners, filled thinly."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"'
    return f'<rect {place} fill="{color}" fill-opacity="{FAINT}" stroke="{color}"/>'


def blank(x: float, y: float, width: float, height: float) -> str:
    """What hides all that is below it."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"'
    return f'<rect {place} style="fill: var(--color-background-primary, Canvas)"/>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, color: str = INK) -> str:
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" stroke="{color}" fill="none"{dash}/>'


def arrow(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, color: str = INK) -> str:
    """A straight line with a head at its second end; it goes along one of the two directions."""
    size = 5.0
    along = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    base = x2 - along[0] * size * 1.6, y2 - along[1] * size * 1.6
    across = along[1] * size * 0.7, along[0] * size * 0.7
    head = (
        f"{x2:g},{y2:g} {base[0] + across[0]:g},{base[1] + across[1]:g} {base[0] - across[0]:g},{base[1] - across[1]:g}"
    )
    return line(x1, y1, *base, dashed=dashed, color=color) + f'<polygon points="{head}" fill="{color}"/>'
