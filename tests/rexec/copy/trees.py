"""What is copied, the ways that it takes, and what has come of it."""

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import chanlink
from examples.rexec.copy import messages as copying
from examples.rexec.copy.client import Copied
from examples.rexec.copy.service import copy_service

MIB = 1024 * 1024
LARGE = os.urandom(copying.ASK + MIB + 17)
MIDDLE = os.urandom(copying.INLINE + 1)
HUGE = LARGE * 10
"""More than can be under way on a session: a copy is not done before its first progress was seen."""
LONG_AGO = 1_000_000_000_123_456_789

Service = Callable[[Any, chanlink.Peer], Awaitable[None]]


@asynccontextmanager
async def server(service: Service | None = None) -> AsyncIterator[chanlink.Session]:
    """A session with a server in this process."""
    us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
    services = {copying.SERVICE: service or copy_service()}
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=them, trust=chanlink.Trust.of(us.public_key), services=services
        ) as listener,
        chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as session,
    ):
        yield session


@asynccontextmanager
async def way(name: str) -> AsyncIterator[dict[str, chanlink.Session | None]]:
    """What `copy` is given for each way that a copy can take."""
    async with AsyncExitStack() as stack:
        yield {
            side: await stack.enter_async_context(server()) if side in WAYS[name] else None
            for side in ("source", "destination")
        }


WAYS = {"there": ["destination"], "back": ["source"], "between": ["source", "destination"], "here": []}
all_ways = pytest.mark.parametrize("name", WAYS)


def make_tree(root: Path) -> Path:
    """One of everything that is copied."""
    (root / "sub" / "deep" / "empty").mkdir(parents=True)
    (root / "large").write_bytes(LARGE)
    (root / "sub" / "middle").write_bytes(MIDDLE)
    (root / "sub" / "nothing").touch()
    (root / "sub" / "program").write_text("#!/bin/sh\n")
    (root / "sub" / "program").chmod(0o750)
    (root / "sub" / "deep" / "secret").write_text("x")
    (root / "sub" / "deep" / "secret").chmod(0o400)
    Path(os.fsdecode(os.fsencode(root) + b"/not utf-8 \xff\n")).write_text("name")
    for number in range(50):
        (root / "sub" / f"{number} ü").write_text(str(number))
    (root / "link").symlink_to("sub/program")
    (root / "sub" / "up").symlink_to("../large")
    (root / "dangling").symlink_to("nowhere")
    for path in (root / "large", root / "sub" / "program", root / "sub" / "deep", root / "sub"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    (root / "sub" / "deep").chmod(0o500)
    return root


def contents(root: Path) -> dict[str, Any]:
    """All that a copy keeps, by relative path."""
    found: dict[str, Any] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        about = path.lstat()
        what: Any = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        kept = () if path.is_symlink() else (stat.S_IMODE(about.st_mode), about.st_mtime_ns)
        found[str(path.relative_to(root))] = (what, *kept)
    return found


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def assert_copied(done: Copied, files: int, problems: int = 0) -> None:
    assert (done.files, len(done.problems)) == (files, problems), done


@contextmanager
def somebody(folder: Path) -> Iterator[None]:
    """Run without the rights of root, in this folder."""
    folder.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)


def part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.rexec-part")
