"""The targets of the copies of examples/rexec: what the two sides of one say to each other, and to whoever asked."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgpack

import chanlink
from chanlink.errors import DecodeError
from chanlink.wire.messages.decode import decode
from examples.rexec import messages
from examples.rexec.copy.client import LINES_MAX, _Listener
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.place import Place
from examples.rexec.copy.receiving import TOGETHER, _Receiver
from examples.rexec.copy.report import Report
from examples.rexec.copy.sending import _Sender
from examples.rexec.copy.target import Target
from examples.rexec.copy.threads import Threads
from examples.rexec.copy.walk import LargeFile, walk
from examples.rexec.messages import BadMessage
from examples.rexec.words import LINE_MAX

from .targets import run, target

FOLDER = tempfile.TemporaryDirectory()
atexit.register(FOLDER.cleanup)
OUTSIDE, ROOT = Path(FOLDER.name), Path(FOLDER.name, "root")
LARGE = os.fsencode(OUTSIDE / "large")
Path(os.fsdecode(LARGE)).write_bytes(bytes(100_000))
META = {"mode": 0o644, "mtime": 0}


class Unheard:
    """A sender of reports that nobody hears."""

    async def send(self, item: object) -> None:
        pass

    def send_nowait(self, item: object) -> None:
        pass


REPORT = Report(Unheard())  # type: ignore[arg-type]


class Here(Threads):
    """No threads: nothing waits."""

    def __init__(self) -> None:
        pass

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class Said:
    """A receiver of what a side says."""

    def __init__(self, words: list[object]) -> None:
        self.words = words

    async def receive(self) -> object:
        if not self.words:
            raise chanlink.EndOfChannel
        return self.words.pop(0)


def received(data: bytes) -> list[object]:
    """As the messages of a peer, if they can be any."""
    try:
        value = decode(len(data), data, messages.LIMITS, lambda kind, stream_id: None)  # type: ignore[arg-type, return-value]
    except DecodeError:
        return []
    return value[:TOGETHER] if isinstance(value, list) else [value]


def long_fields(data: bytes, longest: int) -> bytes:
    """One entry or word with one field as long as can be, or with as many beside it."""
    room = longest - 200
    long: Any = (data * (room // max(1, len(data)) + 1))[:room]
    name = ("file", "folder", "link", "target", "data", "digest", "problem", "name", "failed", "many")[len(data) % 10]
    entry = {"file": b"x", **META, "size": 4, "data": b"data", "digest": b""}
    if name in ("folder", "link", "target"):
        entry = {"folder": b"x", **META} if name == "folder" else {"link": b"x", "target": b"y"}
    elif name in ("problem", "failed"):
        entry, long = {}, "x" * room
    elif name == "name":
        entry = {"at": [1, 1, 1]}
    elif name == "many":
        long = [data[:20]] * min(room // (len(data[:20]) + 2), messages.LIMITS.message_values - 50)
    said = name in ("problem", "name", "failed")
    packed: bytes = msgpack.packb([*([] if said else [{"folder": b"x", **META}]), {**entry, name: long}])
    return packed if len(packed) > longest * 0.9 else packed[:1] + packed[1:].ljust(longest - 1, b"\xc0")


@target(messages.LIMITS.message_size, grow=long_fields, seconds=0.5)  # in a thread, and files are made
def copy_entries(data: bytes) -> None:
    """Entries, written beneath a root: whatever they say, nothing is outside."""
    ROOT.mkdir(exist_ok=True)
    try:
        with closing(Target(Place(ROOT), b"into", [b"x"])) as place:
            place.open()
            receiver = _Receiver(None, None, REPORT, place, Here(), True)  # type: ignore[arg-type]
            with suppress(BadMessage, CopyError):
                words = receiver._write_small(received(data))  # type: ignore[arg-type]
                run(REPORT.say(words))
    finally:
        shutil.rmtree(ROOT)
    assert os.listdir(OUTSIDE) == ["large"]


@target(messages.LIMITS.message_size, grow=long_fields)
def copy_words(data: bytes) -> None:
    """Answers of a receiver, and reports of either side: little is kept of them."""
    words = received(data)
    with closing(walk(Place(), LARGE, b"x", False)) as items:
        file = next(items)
        assert isinstance(file, LargeFile)
        sender = _Sender(None, None, REPORT, Here())  # type: ignore[arg-type]
        for word in words[:10]:
            if isinstance(word, dict):
                with suppress(BadMessage):
                    run(sender._agree(file, word))
    listener = _Listener(lambda progress: None)
    with suppress(CopyError, chanlink.EndOfChannel):
        run(listener.listen("", Said(words)))  # type: ignore[arg-type]
    for lines in (listener._problems, listener._notes, listener._failures):
        assert len(lines) <= LINES_MAX + 1
        assert all(len(line) <= LINE_MAX for line in lines)
    assert len(listener._progress.name) <= LINE_MAX
