"""The page about the design is true: its files are there, and a message goes the ways that it draws."""

import ast
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Identity, Peer, Receiver, Trust
from tests.patience import PATIENCE

ROOT = Path(chanlink.__file__).parent
PAGE = (ROOT.parent / "docs" / "explanation" / "design.md").read_text()
STEP = re.compile(r"^ {4}(?P<name>[A-Z]\w*\.\w+) +(?P<file>[\w/]+\.py)", re.MULTILINE)


def drawn(title: str) -> list[tuple[str, str]]:
    """The steps of the drawing below a heading: file and function."""
    _, found, after = PAGE.partition(f"\n## {title}\n")
    assert found, title
    steps = [(match["file"], match["name"]) for match in STEP.finditer(after.partition("\n## ")[0])]
    assert len(steps) >= 5, "a drawing"
    return steps


async def steps_of_a_message() -> list[tuple[str, str]]:
    """The functions of the package that are called while a message goes from a client to a server."""
    server, us, taken, called = Identity.generate(), Identity.generate(), anyio.Event(), []

    def look(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/"):
            called.append((Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), frame.f_code.co_qualname))

    async def take(requests: Receiver, peer: Peer) -> None:
        async for _ in requests:
            taken.set()

    with anyio.fail_after(PATIENCE):
        async with (
            chanlink.listen(
                "tcp://127.0.0.1:0", identity=server, trust=Trust.of(us.public_key), services={"take": take}
            ) as listener,
            chanlink.connect(listener.addresses[0], identity=us, peer=server.public_key) as session,
            await session.open("take") as requests,
        ):
            await requests.send("the first, which opens the channel")
            await taken.wait()
            taken = anyio.Event()
            sys.setprofile(look)
            try:
                await requests.send("the one that is looked at")
                await taken.wait()
            finally:
                sys.setprofile(None)
    return called


@pytest.mark.parametrize("title", ["The way of a message out", "The way of a message in"])
def test_a_message_goes_the_way_that_is_drawn(title: str) -> None:
    called = anyio.run(steps_of_a_message)
    position = 0
    for step in drawn(title):
        assert step in called[position:], f"{step} does not come after those before it"
        position = called.index(step, position) + 1


def test_all_rooms_are_on_the_page_and_what_they_stand_on() -> None:
    rooms = {f"{path.parent.name}/" for path in ROOT.rglob("__init__.py") if path.parent != ROOT}
    rooms -= {"actions/", "commands/"}  # of the command, which is one room
    tree = PAGE.partition("## The rooms")[2].partition("A room imports")[0]
    assert not [name for name in rooms | {path.name for path in ROOT.glob("*.py")} if name not in tree]


def test_files_and_rooms_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"[\w/]*\w\.py\b|\b[a-z]\w*/", re.sub(r"\]\([^)]*\)", "", PAGE)))
    assert len(named) > 20
    there = [ROOT, ROOT.parent, ROOT / "session", ROOT / "wire", ROOT / "security"]
    assert not [name for name in named if not any((folder / name).exists() for folder in there)]


def test_classes_and_methods_that_the_page_names_are_there() -> None:
    classes = {
        node.name: {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        for path in ROOT.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    named = re.findall(r"`([A-Z][a-z]\w*)(?:\.(\w+))?`", PAGE)
    assert len(named) > 3
    assert not [(cls, method) for cls, method in named if method and method not in classes.get(cls, ())]
    assert not [cls for cls, _ in named if cls not in classes]
