"""The picture as a file: SVG with a style of its own, and an HTML page around it. Neither loads anything."""

from html import escape
from urllib.parse import quote

from .picture import Picture
from .reading import Task, address_of

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Of the page, as a browser is told: nothing is loaded, and no script runs."""
MOST_NAMED = 10
"""Tasks of one deadlock, in words."""
STYLE = """
svg text { fill: #1b1f24 }
svg .node path, svg .node ellipse, svg .node polygon, svg .edge path, svg .cluster path { stroke: #59636e }
svg .edge polygon { stroke: #59636e; fill: #59636e }
svg .holds path { stroke: #b0b8c1 }
svg .stuck path { stroke: #c62828 }
svg .stuck text { fill: #c62828 }
svg .circle path { stroke: #c62828 }
svg .circle polygon { stroke: #c62828; fill: #c62828 }
svg .circle text { fill: #c62828 }
@media (prefers-color-scheme: dark) {
  svg text { fill: #e6e8eb }
  svg .node path, svg .node ellipse, svg .node polygon, svg .edge path, svg .cluster path { stroke: #9aa4af }
  svg .edge polygon { stroke: #9aa4af; fill: #9aa4af }
  svg .holds path { stroke: #4d5761 }
  svg .stuck path, svg .circle path { stroke: #ff6b6b }
  svg .stuck text, svg .circle text { fill: #ff6b6b }
  svg .circle polygon { stroke: #ff6b6b; fill: #ff6b6b }
}
"""
PAGE_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 sans-serif; margin: 1rem; background: #ffffff; color: #1b1f24 }
h1 { font-size: 1.2rem; margin: 0 0 .3rem }
.bad { color: #c62828; font-weight: bold }
.picture { overflow-x: auto; margin-top: 1rem }
.picture svg { max-width: 100%; height: auto }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e6e8eb }
  .bad { color: #ff6b6b }
}
"""


def styled(svg: str) -> str:
    """What graphviz has drawn, with a style that is readable by day and by night."""
    begin = svg.index("<svg")
    end = svg.index(">", begin) + 1
    return f"{svg[begin:end]}\n<style>{STYLE}</style>{svg[end:]}"


def standalone(svg: str) -> str:
    """The file that ``-o`` writes."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{styled(svg)}'


def page(picture: Picture, svg: str, *, when: str, refresh: float | None = None) -> str:
    """A page of HTML around the picture; it asks for itself again after so many seconds."""
    again = f'<meta http-equiv="refresh" content="{refresh:g}">' if refresh is not None else ""
    icon = quote("<svg xmlns='http://www.w3.org/2000/svg'/>")
    bad = ' class="bad"' if picture.circles or any(one.problem for one in picture.asked) else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{again}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}; img-src data:">
<link rel="icon" href="data:image/svg+xml,{icon}">
<title>chanlink graph</title><style>{PAGE_STYLE}{STYLE}</style></head>
<body><h1>Who waits for whom</h1>
<p{bad}>{"<br>".join(map(escape, summary(picture)))}</p>
<p>{escape(when)}</p>
<div class="picture">{styled(svg)}</div>
</body></html>
"""


def _who(task: Task) -> str:
    return f"{task.label} of {address_of(task.id[0])} ({task.place})"


def summary(picture: Picture) -> list[str]:
    """What the picture shows, in words."""
    lines = []
    for circle in picture.circles:
        named = [_who(picture.tasks[name]) for name in circle if name in picture.tasks][:MOST_NAMED]
        more = len(circle) - len(named)
        who = " and ".join([*named, f"{more} more"] if more else named)
        lines.append(f"deadlock: {who} wait{'s for itself' if len(circle) == 1 else ' for each other'}")
    behind = len(picture.stuck) - sum(map(len, picture.circles))
    if behind:
        lines.append(f"{behind} more task{'' if behind == 1 else 's'} wait{'s' if behind == 1 else ''} for a deadlock")
    lines = lines or ["no deadlock"]
    lines += [f"{one.address}: {one.problem or one.is_older}" for one in picture.asked if one.problem or one.is_older]
    if picture.left_out:
        lines.append(f"{picture.left_out} more tasks and channels are left out")
    return lines
