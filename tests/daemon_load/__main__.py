"""Thousands of sessions through one daemon: does its memory grow, and how many does it hand over a second?

    python -m tests.daemon_load [SESSIONS] [APPLICATIONS]

Half of the sessions go out, from applications that connect, and half come in, to applications that serve. Each is
handed over, gets its welcome, and ends. The daemon is a process of its own, and so is the machine at the other side.
It says what it has measured, and fails if memory has grown by more than a tenth once it was warm.
"""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio

import chanlink
from chanlink.handover.messages import Ended, HandedOver
from chanlink.limits import Limits
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.reaching import connect_socket
from tests.daemon.people import open_folder
from tests.daemon.places import US, Got, Host, asking, serving, taken
from tests.daemon.processes import DaemonProcess, stopped
from tests.ports import free_port

WARM = 1_000
"""Sessions after which memory is looked at for the first time."""
MORE = 1.1
"""So many times as much memory at the end is a leak."""


class Applications(Host):
    """Those of a daemon that is a process."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.folder = daemon.folder
        self.run = daemon.run
        self.key = daemon.key


def memory(pid: int) -> float:
    """Of a process, in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


async def times(number: int, of: int, one: Callable[[], Awaitable[None]]) -> float:
    """Do something so often, by so many at a time: how often a second that was."""
    left = number

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    began = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(of):
            tasks.start_soon(some)
    return number / (time.perf_counter() - began)


async def out(host: Host) -> None:
    """A session that goes out."""
    line = await host.line()
    await line.send(asking())
    got = Got(line, await line.receive_any((HandedOver,)))
    stream = await got.welcomed()
    await stream.aclose()
    got.close()


async def serve(host: Host) -> None:
    """Serve, until cancelled."""
    line = await host.advertise()
    while True:
        got = await taken(line)
        with suppress(chanlink.SessionError):
            stream = await got.welcomes()
            await stream.aclose()
        await line.send(Ended(id=got.id))


async def come(host: Host, address: str, statics: Statics) -> None:
    """A client of the network."""
    transport = await connect_socket(parse_address(address))

    def admit(presented: Presented) -> Grant:
        return Grant("host", None)

    try:
        await handshake_as_client(transport, statics, admit, Limits(), service="ping")
    finally:
        transport.close_now()


async def load(daemon: DaemonProcess, sessions: int, applications: int) -> bool:
    """All of it: whether memory stayed as it was."""
    host, client = Applications(daemon), chanlink.Identity.generate("client")
    user_key = daemon.folder.add_user(US, US)
    daemon.folder.trust.write_text(f"{client.public_key}\n")
    statics = Statics(client, Role.CLIENT)
    async with serving(user_key, limits=Limits(sessions_per_key=4_096)) as web1, anyio.create_task_group() as tasks:
        host.know(web1=web1)
        await anyio.to_thread.run_sync(daemon.start)
        for _ in range(applications):
            tasks.start_soon(serve, host)

        async def both() -> None:
            await out(host)
            await come(host, daemon.listen, statics)

        await times(WARM // 2, applications, both)
        before = memory(daemon.pid)
        rate = 2 * await times(sessions // 2, applications, both)
        after = memory(daemon.pid)
        tasks.cancel_scope.cancel()
    print(f"{sessions} sessions, {applications} applications each way: {rate:.0f} hand-overs a second")
    print(f"memory of the daemon: {before:.1f} MiB after {WARM} sessions, {after:.1f} MiB after {sessions} more")
    return after <= before * MORE


def main() -> int:
    sessions, applications = (int(word) for word in (sys.argv[1:] + ["10000", "50"][len(sys.argv) - 1 :]))
    with open_folder() as base:
        daemon = DaemonProcess(base, "daemon", groups=False, listen=f"tcp://127.0.0.1:{free_port()}")
        daemon.add("ping")
        with stopped(daemon):
            return 0 if anyio.run(load, daemon, sessions, applications) else 1


if __name__ == "__main__":
    sys.exit(main())
