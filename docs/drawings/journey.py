"""The way of something through many hands: down on the left, up on the right, as two processes stand side by side."""

from dataclasses import dataclass

from . import svg

WIDTH = 346
COLUMN = 166
BOX = 34
GAP = 11
WAIT = 34
"""Where it lies until somebody fetches it."""
TOP = 26


@dataclass(frozen=True)
class Hand:
    """One that it passes through, and in which file that is."""

    name: str
    file: str
    color: str


@dataclass(frozen=True)
class Side:
    """What happens on one side, from the top to the bottom of the drawing: two groups, and what is between them."""

    head: str
    upper: list[Hand]
    between: str
    lower: list[Hand]


def journey(down: Side, up: Side, between: str) -> str:
    left, height_left = _column(0, down, upwards=False)
    right, height_right = _column(WIDTH - COLUMN, up, upwards=True)
    bottom = max(height_left, height_right) + GAP
    middle = COLUMN / 2
    under = [
        svg.arrow(middle, height_left, middle, bottom),
        svg.arrow(WIDTH - middle, bottom, WIDTH - middle, height_right),
        svg.box(1, bottom, WIDTH - 2, 24),
        svg.text(WIDTH / 2, bottom + 16, between, anchor="middle"),
    ]
    return svg.picture(WIDTH, bottom + 26, [*left, *right, *under])


def _column(x: float, side: Side, *, upwards: bool) -> tuple[list[str], float]:
    """The parts of a side, and how far down it goes."""
    parts = [svg.text(x + COLUMN / 2, 14, side.head, anchor="middle")]
    y = float(TOP)
    for group in (side.upper, side.lower):
        for number, hand in enumerate(group):
            if number:
                parts.append(_step(x, y, GAP, upwards=upwards))
                y += GAP
            parts += _hand(x, y, hand)
            y += BOX
        if group is side.upper:
            parts += [_step(x, y, WAIT, upwards=upwards, dashed=True)]
            parts += [svg.text(x + COLUMN / 2 + 10, y + WAIT / 2 + 4, side.between, size=svg.SMALL, faint=True)]
            y += WAIT
    return parts, y


def _step(x: float, y: float, length: float, *, upwards: bool, dashed: bool = False) -> str:
    ends = (y + length, y) if upwards else (y, y + length)
    return svg.arrow(x + COLUMN / 2, ends[0], x + COLUMN / 2, ends[1], dashed=dashed)


def _hand(x: float, y: float, hand: Hand) -> list[str]:
    return [
        svg.box(x + 1, y, COLUMN - 2, BOX, hand.color),
        svg.text(x + 8, y + 14, hand.name, size=11),
        svg.text(x + 8, y + 28, hand.file, size=svg.SMALL, faint=True),
    ]
