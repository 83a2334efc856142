"""What a task reaches, and when somebody else may have it, too."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Sender
from chanlink.observing import reach
from chanlink.observing.reach import Held
from chanlink.observing.tasks import look
from tests.observing.waiting import ELSEWHERE, background
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


class Owner:
    def __init__(self, sender: Any) -> None:
        self.sender = sender

    async def wait(self) -> None:
        await anyio.sleep_forever()


@dataclass(slots=True)
class Record:
    sender: Any


async def keep(_: Any) -> None:
    await anyio.sleep_forever()


async def in_a_block(sender: Any) -> None:
    senders = [sender]
    del sender
    async with senders.pop():
        await anyio.sleep_forever()


async def in_a_function(sender: Any) -> None:
    async def send() -> None:
        await sender.send(1)

    await anyio.sleep_forever()
    await send()


async def in_a_generator(sender: Any) -> None:
    async def generator() -> Any:
        async with sender:
            await anyio.sleep_forever()
            yield

    async for _ in generator():
        pass


class Unbound:
    """Says, by an error, that it stands for nothing now, as proxies of frameworks do."""

    def __init__(self, behind: Any) -> None:
        self.behind = behind

    @property
    def __class__(self) -> Any:
        raise RuntimeError("out of context")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("out of context")


CALLED: list[str] = []
"""What was called of a class that calls nothing its own affair."""


class Watching(type):
    """A class of classes that notices whoever asks one of them."""

    def __getattribute__(cls, name: str) -> Any:
        CALLED.append(name)
        return super().__getattribute__(name)

    def __eq__(cls, other: object) -> bool:
        CALLED.append("__eq__")
        return cls is other

    def __hash__(cls) -> int:
        CALLED.append("__hash__")
        return 1


class Watched(metaclass=Watching):
    def __init__(self, sender: Any) -> None:
        self.sender = sender


class Moduleless:
    """Says nothing of where it is from that could be read."""

    __module__ = property(lambda _: CALLED.append("__module__"))  # type: ignore[assignment]

    def __init__(self, sender: Any) -> None:
        self.sender = sender


class TaskGroup:
    """Called as those that are looked into, and of another kind."""

    _tasks = 5

    def __getattr__(self, name: str) -> Any:
        CALLED.append(name)
        raise RuntimeError("not here")

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        await anyio.sleep_forever()


async def in_a_group(sender: Any) -> None:
    async with TaskGroup():
        pass


def held(*, capacity: int = 5) -> Held:
    """Who can use the only sender with this capacity."""
    (found,) = [held for end, held in look().handles.items() if isinstance(end, Sender) and end.capacity == capacity]
    return found


WAYS: dict[str, tuple[Any, Any]] = {
    "variable": (keep, lambda sender: sender),
    "list": (keep, lambda sender: [sender]),
    "dict": (keep, lambda sender: {"sender": (sender,)}),
    "object": (keep, Owner),
    "object with slots": (keep, Record),
    "object in a list": (keep, lambda sender: [Owner(sender)]),
    "proxy": (keep, Unbound),
    "block": (in_a_block, lambda sender: sender),
    "function": (in_a_function, lambda sender: sender),
    "generator": (in_a_generator, lambda sender: sender),
    "partial": (keep, lambda sender: partial(print, sender)),
    "method": (keep, lambda sender: Owner(sender).wait),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_alone_holds_an_end(way: str) -> None:
    function, wrap = WAYS[way]
    async with background(function, wrap(chanlink.pipe(5)[0])):
        (task,) = [task for task in look().tasks if task.name == "it"]
        assert held() == Held(frozenset({task.id}), others=False)


OWN_CLASSES = {
    "of a class that watches": (keep, Watched),
    "of no module": (keep, Moduleless),
    "a group of another kind": (in_a_group, lambda sender: sender),
}


@pytest.mark.parametrize("way", OWN_CLASSES)
async def test_classes_of_the_program_are_not_asked_either(way: str) -> None:
    function, wrap = OWN_CLASSES[way]
    async with background(function, wrap(chanlink.pipe(5)[0])):
        CALLED.clear()
        (task,) = [task for task in look().tasks if task.name == "it"]
        assert held() == Held(frozenset({task.id}), others=False)
        assert not CALLED
        assert not task.limited


@pytest.mark.parametrize("way", WAYS)
async def test_what_something_else_refers_to_may_be_used_by_others(way: str) -> None:
    function, wrap = WAYS[way]
    kept: set[Any] = {chanlink.pipe(5)[0]}

    async def start() -> None:
        async with background(function, wrap(*kept), name="it"):
            await anyio.sleep_forever()

    async with background(start, name="starts"):
        found = held()
        assert found.others or len(found.tasks) > 1
    assert kept.pop().close() is None


async def test_an_object_that_others_have_is_used_by_them() -> None:
    owner = Owner(chanlink.pipe(5)[0])
    ELSEWHERE.append(owner)
    async with background(keep, owner):
        del owner
        assert held().others
    ELSEWHERE.pop().sender.close()


@pytest.mark.parametrize("wrap", [lambda sender: sender, Owner], ids=["end", "owner"])
async def test_who_refers_to_it_weakly_may_use_it_too(wrap: Callable[[Any], Any]) -> None:
    kept = [wrap(chanlink.pipe(5)[0])]
    weak = weakref.ref(kept[0])
    async with background(keep, kept.pop()):
        assert held().others
        del weak
        assert not held().others


@pytest.mark.parametrize("most", ["MOST_OBJECTS", "DEEPEST", "LONGEST"])
async def test_what_was_not_looked_at_is_not_known(monkeypatch: pytest.MonkeyPatch, most: str) -> None:
    async with background(keep, [[chanlink.pipe(5)[0]], *range(20)]):
        assert not held().others
        monkeypatch.setattr(reach, most, 2 if most == "DEEPEST" else 15)
        assert not [end for end in look().handles if end.capacity == 5]


async def test_nothing_is_kept() -> None:
    """An end at which somebody has looked in a task is forgotten when the task is over, as if nobody had."""
    sender, receiver = chanlink.pipe(5)
    kept = [sender]
    del sender

    async def forget() -> None:
        async with background(keep, kept.pop()):
            assert held().tasks
        gc.collect()

    with pytest.warns(ResourceWarning):
        await forget()
    with anyio.fail_after(PATIENCE), pytest.raises(chanlink.ChannelFailed, match="abandoned"):
        await receiver.receive()
