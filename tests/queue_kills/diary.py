"""What a process has seen: lines of JSON in a file of its own. Who is killed has said what it said."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = "diaries"


class Diary:
    def __init__(self, folder: Path, name: str) -> None:
        """Each process begins another file: the last line of one that was killed may be half a line."""
        (folder / FOLDER).mkdir(exist_ok=True)
        path = folder / FOLDER / f"{name}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def say(self, what: str, job: str, **more: Any) -> None:
        line = json.dumps({"what": what, "job": job, "at": time.monotonic(), **more})
        os.write(self._file, line.encode() + b"\n")


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """All that processes of this name, or whose names begin with it, have said; of one process in order."""
    for path in sorted((folder / FOLDER).glob(f"{name}*")):
        *lines, _ = path.read_bytes().split(b"\n")
        yield from ({**json.loads(line), "by": path.name} for line in lines)


class Tail:
    """How often something was said by processes of a name, and those whose names begin with it, since it was asked
    last. A glance: nothing is parsed."""

    def __init__(self, folder: Path, name: str, what: str) -> None:
        self._folder = folder / FOLDER
        self._name = name
        self._mark = json.dumps({"what": what})[1:-1].encode()
        self._seen: dict[Path, int] = {}

    def more(self) -> int:
        """How many more."""
        found = 0
        for path in self._folder.glob(f"{self._name}*"):
            with path.open("rb") as file:
                file.seek(self._seen.get(path, 0))
                lines, _, _ = (text := file.read()).rpartition(b"\n")
            found += lines.count(self._mark)
            self._seen[path] = self._seen.get(path, 0) + len(lines) + (b"\n" in text)
        return found
