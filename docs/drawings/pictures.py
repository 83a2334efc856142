"""What drawings there are, by the names by which pages ask for them."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.test_layers import ABOVE, GROUND, ROOMS

from . import svg
from .graph import graph
from .journey import Hand, Side, journey
from .plots import PLOTS
from .sequence import Knows, Says, sequence

DOCS = Path(__file__).parents[1]
COLORS = {
    "channels": svg.GREEN,
    "session": svg.ORANGE,
    "wire": svg.BLUE,
    "security": "#9a6fc0",
    "transport": svg.GREY,
}
"""Of the rooms that a message passes."""


# --- the rooms ----------------------------------------------------------------------------------


def layers() -> str:
    """Which room stands on which, from the table that the tests hold the imports against.

    An arrow that follows from others is left out.
    """
    below = _rooms()
    lines = [f'"{room}" [color="{COLORS[room]}", fillcolor="{COLORS[room]}24"]' for room in below if room in COLORS]
    lines += [f'"{room}" -> "{other}"' for room, others in below.items() for other in _nearest(room, below) & others]
    lines += ['"wire" -> "channels" [style=dashed, label="values", constraint=false]']
    lines += ['"naming" -> "directory" [style=dashed, label="entries", constraint=false]']
    lines += ['"ground" [label="the ground: errors, limits, ...", width=3.6]']
    lines += [f'"{room}" -> "ground"' for room, others in below.items() if not others]
    lines += ['"public" [label="the public names", style="filled", color="#8a939c00"]']
    return graph(";\n".join(lines))


def _rooms() -> dict[str, set[str]]:
    """Each room, and all rooms that it may import; an inner room counts as the one around it."""
    below: dict[str, set[str]] = {}
    for room, row in ROOMS.items():
        outer = room.partition(".")[0]
        others = {"public" if other == "chanlink" else other.partition(".")[0] for other in row - GROUND}
        below.setdefault(outer, set()).update(others - {outer})
    below["wire"].discard("channels")  # but for what a message may hold, which has an arrow of its own
    below["naming"].discard("directory")  # as well: for what a directory is asked, and what it tells
    below["public"] = {room for room in below if room not in {"public", *ABOVE} | {"command", "testing", "blocking"}}
    return below


def _nearest(room: str, below: dict[str, set[str]]) -> set[str]:
    """The rooms that it stands on and that none of the others stands on."""
    return {other for other in below[room] if not any(other in _all_below(each, below) for each in below[room])}


def _all_below(room: str, below: dict[str, set[str]]) -> set[str]:
    return below.get(room, set()).union(*(_all_below(other, below) for other in below.get(room, ())))


# --- the way of a message -----------------------------------------------------------------------

STEP = re.compile(r"^(?P<name>_?[A-Z]\w*\.\w+) +(?P<file>[\w/]+)\.py", re.MULTILINE)


def message() -> str:
    """The two ways that the page about the design lists, beside each other."""
    send, write = _steps("The way of a message out")
    read, take = _steps("The way of a message in")
    return journey(
        Side("who sends", send, "queued", write),
        Side("who receives", take[::-1], "kept until taken", read[::-1]),
        "the network",
    )


def _steps(title: str) -> tuple[list[Hand], list[Hand]]:
    """The two groups of steps in the list below a heading."""
    page = (DOCS / "explanation" / "design.md").read_text()
    listed = page.partition(f"\n## {title}\n")[2].partition("```text\n")[2].partition("```")[0]
    first, second = (
        [Hand(step["name"], step["file"], COLORS[step["file"].partition("/")[0]]) for step in STEP.finditer(group)]
        for group in listed.split("\n.\n")
    )
    return first, second


# --- the life of an end -------------------------------------------------------------------------


def life() -> str:
    """The states of an end, and what leads from one to the next."""
    return graph(
        f"""
        open [label="open", color="{svg.GREEN}", fillcolor="{svg.GREEN}24"]
        lent [label="lent", color="{svg.ORANGE}", fillcolor="{svg.ORANGE}24"]
        over [label="over: ended,\\nfailed, refused\\nor lost", color="{svg.BLUE}", fillcolor="{svg.BLUE}24"]
        moved; closed
        start [shape=point, width=0.12, color="#010203", fillcolor="#010203"]
        start -> open [label="  pipe(), or it came in a message"]
        open -> lent [label=" sent in\\l a message\\l"]
        lent -> open [label=" can't\\l be sent\\l"]
        lent -> moved [label="accepted "]
        open -> over [label=" the other side\\l or the session\\l is gone\\l"]
        open -> closed [label=" close, fail,\\l refuse\\l"]
        over -> closed [label=" close"]
        {{ rank=same; moved; closed }}
        """
    )


# --- the handshake ------------------------------------------------------------------------------


def handshake() -> str:
    return sequence(
        ("client", "server"),
        [
            Says(0, "hello: what I can speak"),
            Says(0, "message 1: e", "a fresh key"),
            Says(1, "message 2: e, ee, s, es", "encrypted: certificate, suite, limits"),
            Knows(0, "the server is the right one, or I leave"),
            Says(0, "message 3: s, se", "encrypted: certificate, whom I mean"),
            Knows(1, "who this is, and whether it may come in"),
            Says(1, "welcome, or why not", "the first record"),
            Says(0, "records: channels and messages", dashed=True),
            Says(1, "records", dashed=True),
        ],
    )


def call() -> str:
    return sequence(
        ("caller", "service"),
        [
            Says(0, "request", "arguments, the seconds left, a reply channel"),
            Knows(1, "the arguments fit, or the call is refused"),
            Knows(1, "the method runs, within that time"),
            Says(1, "reply", "a result, or one of three errors"),
            Says(0, "or before that: I have left", "the method is cancelled", dashed=True),
        ],
    )


# --- who waits ----------------------------------------------------------------------------------


def waiting() -> str:
    """Who waits for whom, from one program to the other."""
    green, blue, orange = (f'color="{color}", fillcolor="{color}24"' for color in (svg.GREEN, svg.BLUE, svg.ORANGE))
    return graph(
        f"""
        send [label="a task that sends", {green}]
        receive [label="a task that receives", {green}]
        writer [label="the writer", {orange}]
        reader [label="the reader", {orange}]
        credit [label="credit", {blue}]
        inbox [label="a message in the inbox", {blue}]
        queue [label="something queued", {blue}]
        socket [label="room in the socket", {blue}]
        bytes [label="bytes in the socket", {blue}]
        send -> credit [label=" waits for"]
        credit -> receive [label=" given by", style=dashed]
        receive -> inbox [label=" waits for"]
        inbox -> reader [label=" put there by", style=dashed]
        reader -> bytes [label=" waits for"]
        bytes -> writer [label=" sent by", style=dashed]
        writer -> socket [label=" waits for"]
        writer -> queue [label=" or for"]
        queue -> send [label=" queued by", style=dashed, constraint=false]
        """
    )


# --- a job ----------------------------------------------------------------------------------------


def job() -> str:
    """The states of a job of a work queue, and what leads from one to the next."""
    return graph(
        f"""
        waiting [color="{svg.ORANGE}", fillcolor="{svg.ORANGE}24"]
        running [color="{svg.GREEN}", fillcolor="{svg.GREEN}24"]
        done, failed [color="{svg.BLUE}", fillcolor="{svg.BLUE}24"]
        delayed
        start [shape=point, width=0.12, color="#010203", fillcolor="#010203"]
        start -> waiting [label="  submit"]
        waiting -> running [label=" a worker asks"]
        running -> waiting [label=" its worker is\\l lost or silent\\l"]
        running -> delayed [label=" retry"]
        delayed -> waiting [label=" time is over"]
        running -> done [label=" done"]
        running -> failed [label=" fail, cancel,\\l attempts used up\\l"]
        failed -> waiting [label=" retry\\l by hand\\l"]
        {{ rank=same; done; failed }}
        """
    )


PICTURES: dict[str, Callable[[], str]] = {
    "layers": layers,
    "message": message,
    "life": life,
    "handshake": handshake,
    "call": call,
    "waiting": waiting,
    "job": job,
    **PLOTS,
}
