"""The page about the design is true: its files are there, and a message goes the ways that it draws."""

import ast
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import anyio
import pytest

import chanlink
from chanlink import Identity, Peer, Receiver, Trust
from tests.patience import PATIENCE

ROOT = Path(chanlink.__file__).parent
PAGE = (ROOT.parent / "docs" / "explanation" / "design.md").read_text()
STEP = re.compile(r"^(?P<name>_?[A-Z]\w*\.\w+) +(?P<file>[\w/]+\.py)", re.MULTILINE)


def drawn(title: str) -> list[tuple[str, str]]:
    """The steps of the drawing below a heading: file and function."""
    _, found, after = PAGE.partition(f"\n## {title}\n")
    assert found, title
    steps = [(match["file"], match["name"]) for match in STEP.finditer(after.partition("\n## ")[0])]
    assert len(steps) >= 5, "a drawing"
    return steps


class Calculator(Protocol):
    async def add(self, a: int, b: int) -> int: ...


class MyCalculator:
    async def add(self, a: int, b: int) -> int:
        return a + b


CALC = chanlink.Interface(Calculator)


class Desk:
    """A client of a service that takes messages, and of one that is called."""

    def __init__(self) -> None:
        self._taken = anyio.Event()

    async def take(self, requests: Receiver, peer: Peer) -> None:
        async for _ in requests:
            self._taken.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server, us = Identity.generate(), Identity.generate()
        trust, services = Trust.of(us.public_key), {"take": self.take, "calc": CALC.serving(MyCalculator())}
        async with (
            chanlink.listen("tcp://127.0.0.1:0", identity=server, trust=trust, services=services) as listener,
            chanlink.connect(listener.addresses[0], identity=us, peer=server.public_key) as session,
            await session.open("take") as self._requests,
        ):
            self._calculator = CALC.client(session, "calc")
            yield

    async def send(self) -> None:
        self._taken = anyio.Event()
        await self._requests.send("a message")
        await self._taken.wait()

    async def call(self) -> None:
        assert await self._calculator.add(1, 2) == 3


async def steps_of(what: Callable[[Desk], Awaitable[None]]) -> list[tuple[str, str]]:
    """The functions of the package that are called meanwhile, on both sides."""
    desk, called = Desk(), []

    def look(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/"):
            called.append((Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), frame.f_code.co_qualname))

    with anyio.fail_after(PATIENCE):
        async with desk.open():
            await what(desk)  # the first one, which opens the channel
            sys.setprofile(look)
            try:
                await what(desk)
            finally:
                sys.setprofile(None)
    return called


@pytest.mark.parametrize(
    ("title", "what"),
    [
        ("The way of a message out", Desk.send),
        ("The way of a message in", Desk.send),
        ("The way of a call", Desk.call),
    ],
)
def test_a_message_and_a_call_go_the_way_that_is_drawn(title: str, what: Callable[[Desk], Awaitable[None]]) -> None:
    called = anyio.run(steps_of, what)
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
    there = [
        ROOT,
        ROOT.parent,
        *(
            ROOT / room
            for room in ("session", "wire", "security", "observing", "patterns", "patterns/jobs", "directory")
        ),
    ]
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
