"""The picture in the language of graphviz. What servers have named is text there, and nothing else."""

from collections.abc import Iterator

from chanlink.printing import printable

from .picture import Asked, Edge, Picture
from .reading import Side, Task, Way

LONGEST = 48


class _Names:
    """What nodes are called: names of ours, so that nobody else can choose one."""

    def __init__(self) -> None:
        self._given: dict[object, str] = {}

    def __getitem__(self, one: object) -> str:
        return self._given.setdefault(one, f"n{len(self._given)}")


def dot(picture: Picture) -> str:
    """A graph for ``dot``. Each node and edge has a class, by which a style may colour it."""
    return "\n".join(_lines(picture)) + "\n"


def _lines(picture: Picture) -> Iterator[str]:
    names = _Names()
    yield "digraph chanlink {"
    yield '  graph [bgcolor=transparent, fontname="sans-serif", fontsize=12, nodesep=0.3, ranksep=0.4];'
    yield '  node [fontname="sans-serif", fontsize=11, shape=box, style=rounded, margin="0.12,0.06"];'
    yield '  edge [fontname="sans-serif", fontsize=10];'
    for number, asked in enumerate(picture.asked):
        yield f"  subgraph cluster_{number} {{"
        yield from _server(asked, picture, names)
        yield "  }"
    for way, sides in picture.channels.items():
        yield f"  {names[way]} [shape=ellipse, class=channel, label={_quoted(*_channel(way, sides))}];"
    waits = {(edge.start, edge.end) for edge in picture.edges if edge.label != "holds"}
    for edge in picture.edges:
        if edge.label != "holds":
            yield from _edge(edge, names)
        elif not waits & {(edge.start, edge.end), (edge.end, edge.start)}:
            yield f"  {names[edge.start]} -> {names[edge.end]} [class=holds, style=dashed, arrowhead=none];"
    yield "}"


def _server(asked: Asked, picture: Picture, names: _Names) -> Iterator[str]:
    yield f"    label={_quoted(asked.address)}; class=server; style=rounded; labeljust=l;"
    process = asked.reports[1].process if asked.reports is not None else ""
    tasks = [task for name, task in picture.tasks.items() if name[0] == process]
    for task in tasks:
        stuck = "stuck" if task.id in picture.stuck else "task"
        style = ', penwidth=2, color="#c62828"' if task.id in picture.stuck else ""
        yield f"    {names[task.id]} [class={stuck}, label={_quoted(*_task(task))}{style}];"
    if missing := asked.problem or asked.is_older:
        yield f"    {names[asked.address]} [class=problem, style=dashed, label={_quoted(missing)}];"
    elif not tasks:
        yield f"    {names[asked.address]} [class=idle, shape=plaintext, label={_quoted('nobody waits')}];"


def _task(task: Task) -> list[str]:
    place, _, function = task.place.partition(" in ")
    known = task.label.endswith(f".{function}")  # tasks are called by the functions that they begin with
    return [task.label, *filter(None, (f"in {function}" if function and not known else "", place))]


def _channel(way: Way, sides: tuple[Side, ...]) -> list[str]:
    service = next((side.service for side in sides if side.service), "")
    sent, taken = max(side.sent for side in sides), max(side.taken for side in sides)
    capacity = next((f", capacity {side.capacity}" for side in sides if side.capacity is not None), "")
    what = "pipe" if way.side in ("sender", "receiver") else f"channel {way.number}"
    return [f"{what} {service}".strip(), f"{sent} sent, {taken} taken{capacity}"]


def _edge(edge: Edge, names: _Names) -> Iterator[str]:
    end = names[edge.end]
    if edge.end == "others":
        end = names["others", edge.start]
        yield f"  {end} [class=others, shape=plaintext, label={_quoted('others')}];"
    looks = ', class=circle, color="#c62828", fontcolor="#c62828", penwidth=2.5' if edge.stuck else ", class=waits"
    yield f"  {names[edge.start]} -> {end} [label={_quoted(edge.label)}{looks}];"


def _quoted(*lines: str) -> str:
    """A string that is shown as it is: no escape of graphviz's, no markup."""
    cut = [line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in map(printable, lines)]
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in cut) + '"'
