"""Who says what to whom, one after the other: two parties, and what passes between them."""

from dataclasses import dataclass

from . import svg

WIDTH = 330
MARGIN = 58
TOP = 34
STEP = 44


@dataclass(frozen=True)
class Says:
    """From one side to the other: `by` is 0 or 1."""

    by: int
    what: str
    more: str = ""
    """A second line, below the arrow."""
    dashed: bool = False


@dataclass(frozen=True)
class Knows:
    """What one side has found out by then."""

    who: int
    what: str


def sequence(parties: tuple[str, str], steps: list[Says | Knows]) -> str:
    places = (MARGIN, WIDTH - MARGIN)
    parts, y = [], TOP + 8.0
    for step in steps:
        if isinstance(step, Knows):
            parts += [*_note(step, places, y)]
            y += 32
        else:
            parts += [*_arrow(step, places, y)]
            y += STEP + (13 if step.more else 0)
    lives = [svg.line(x, TOP, x, y, dashed=True, color=svg.GREY) for x in places]
    heads = [
        svg.box(x - MARGIN + 2, 4, 2 * MARGIN - 4, TOP - 8, color) + svg.text(x, 23, name, anchor="middle")
        for x, name, color in zip(places, parties, (svg.GREEN, svg.BLUE), strict=True)
    ]
    return svg.picture(WIDTH, y + 4, [*lives, *heads, *parts])


def _arrow(step: Says, places: tuple[int, int], y: float) -> list[str]:
    start, end = places if step.by == 0 else places[::-1]
    side = 1 if end > start else -1
    middle = (start + end) / 2
    return [
        svg.text(middle, y + 18, step.what, anchor="middle"),
        svg.arrow(start + 3 * side, y + 26, end - 3 * side, y + 26, dashed=step.dashed),
        svg.text(middle, y + 41, step.more, anchor="middle", size=svg.SMALL, faint=True),
    ]


def _note(step: Knows, places: tuple[int, int], y: float) -> list[str]:
    color = (svg.GREEN, svg.BLUE)[step.who]
    width = WIDTH - MARGIN - 8
    x = 4 if step.who == 0 else WIDTH - width - 4
    return [
        svg.blank(x, y + 4, width, 22),
        svg.box(x, y + 4, width, 22, color),
        svg.text(x + width / 2, y + 19, step.what, anchor="middle", size=svg.SMALL, faint=True),
    ]
