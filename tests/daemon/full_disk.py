"""``python -m tests.daemon.full_disk FOLDER``: a daemon whose folder is on a small disk that fills, and has room again.

The folder is a file system of its own. What should not be raises.
"""

import json
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

import chanlink
from chanlink import Advertised, Local, SessionClosed
from chanlink.daemon.incoming import NO_ROOM
from chanlink.daemon.journal import INCOMING, OUTGOING, read_rows
from tests.patience import PATIENCE, until

from .places import Host

HELD = 12
"""Sessions whose ends take more than a page of the audit."""
ALICE = chanlink.Identity.generate("alice")


async def main(disk: Path) -> None:
    host = Host(disk)
    host.trust(host.user_key, ALICE.public_key)
    with anyio.fail_after(PATIENCE):
        async with host.running() as daemon:
            host.know(here=(daemon.addresses[0], host.key))
            async with chanlink.listen(Advertised("ping", folder=host.run)) as listener:
                await fill_and_make_room(host, daemon, listener)


async def fill_and_make_room(host: Host, daemon: Any, listener: Any) -> None:
    begun = {INCOMING: 0, OUTGOING: 0}

    def locally() -> Any:
        return chanlink.connect(Local("here", service="ping", folder=host.run))

    def from_outside() -> Any:
        return chanlink.connect(daemon.addresses[0], identity=ALICE, peer=host.key, service="ping")

    async with AsyncExitStack() as held:
        sessions = [await held.enter_async_context(locally()) for _ in range(HELD)]
        begun = dict.fromkeys(begun, HELD)
        filler = fill(host.folder.path / "filler")
        for connect, way in ((locally, OUTGOING), (from_outside, INCOMING)):
            begun[way] += (more := await until_refused(connect))
            if way == OUTGOING:
                begun[INCOMING] += more
        for session in sessions:  # those that are there go on
            await session.ping()
    await until(lambda: not len(daemon))
    for connect in (locally, from_outside):  # their ends are written nowhere yet
        assert not await until_refused(connect)
    assert len(audited(host)) < sum(begun.values())
    filler.unlink()
    for connect in (locally, from_outside):
        await until_let_in(connect)
    begun[OUTGOING] += 1
    begun[INCOMING] += 2
    await until(lambda: not len(daemon) and not read_rows(host.folder.journal))
    lines = audited(host)
    assert len({(line["way"], line["id"]) for line in lines}) == len(lines)
    assert {way: sum(line["way"] == way for line in lines) for way in begun} == begun


def fill(file: Path) -> Path:
    """To the last page."""
    with file.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4_096))
        except OSError as exc:
            print(exc.strerror, flush=True)
    return file


async def until_refused(connect: Callable[[], Any]) -> int:
    """How many sessions are let in before there is no room, not even in the last page of a file."""
    count = 0
    while True:
        try:
            async with connect():
                count += 1
        except SessionClosed as exc:
            refused = exc
            break
        assert count < 100
    print(refused.code, refused.text, flush=True)
    assert refused.code == "busy"
    assert refused.text == NO_ROOM or refused.text.startswith("the daemon can't write the session down: ")
    return count


async def until_let_in(connect: Callable[[], Any]) -> None:
    while True:
        try:
            async with connect():
                return
        except SessionClosed:
            await anyio.sleep(0.01)


def audited(host: Host) -> list[dict[str, Any]]:
    """The ends of sessions; each line is whole."""
    lines = [json.loads(line) for line in host.folder.audit.read_text().splitlines()]
    return [line for line in lines if "begin" in line]


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
