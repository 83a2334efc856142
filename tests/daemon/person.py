"""A program that a user of the machine runs: ``python -m tests.daemon.person USER WHAT ...``.

It begins as root and becomes the user for good, before it does what it is asked for. Each line that it prints says what
has come of it.
"""

import os
import pwd
import socket
import sys
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint

import chanlink
from chanlink.daemon.handing import OURS
from chanlink.handover.messages import Advertise, Advertised, Attach, Ended, HandedOver, Refused
from chanlink.handover.passing import open_line

from .places import Got, asking, taken


def become(user: str) -> None:
    """From now on we are this user, and nobody else."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def say(*words: object) -> None:
    print(*words, flush=True)


async def connect(run: str, service: str, host: str, *, holds: bool = False) -> None:
    """One session, or why not: and who we are in it. Whoever ``holds`` it says its id, and keeps it until killed."""
    try:
        line = await open_line(f"{run}/ipc/{service}")
    except chanlink.ChanlinkError as exc:
        say(type(exc).__name__, exc)
        return
    await line.send(asking(host))
    received = await line.receive_any((HandedOver, Refused))
    if isinstance(received.message, HandedOver):
        assert received.connection is not None
        say("session", (received.message.id if holds else received.message.identity).hex())
        if holds:
            await anyio.sleep_forever()
        received.connection.close()
    else:
        say("refused", getattr(received.message, "code", ""))
    line.close()


async def hold(run: str, service: str, host: str) -> None:
    await connect(run, service, host, holds=True)


async def ping(run: str, service: str, host: str) -> None:
    """A session by which a word goes there and comes back."""
    line = await open_line(f"{run}/ipc/{service}")
    await line.send(asking(host))
    got = Got(line, await line.receive_any((HandedOver, Refused)))
    stream = await got.welcomed()
    await stream.send(b"ping")
    say((await stream.receive()).decode())
    await stream.aclose()
    got.close()


async def advertise(run: str, service: str, *, echoes: bool = False) -> None:
    """Serve, and say who comes, until killed. Who ``echoes`` sends back what comes first."""
    try:
        line = await open_line(f"{run}/import/{service}")
    except chanlink.ChanlinkError as exc:
        say(type(exc).__name__, exc)
        return
    await line.send(Advertise(features=sorted(OURS)))
    say(type(await line.receive(Advertised, Refused)).__name__)
    while True:
        got = await taken(line)
        say(got.message.peer["name"])
        stream = await got.welcomes()
        if echoes:
            await stream.send(await stream.receive())
            await stream.aclose()
            await line.send(Ended(id=got.id))


async def echo(run: str, service: str) -> None:
    await advertise(run, service, echoes=True)


async def attach(run: str, service: str, id_: str, host: str) -> None:
    """Try to have somebody else's session."""
    for request in (Attach(id=bytes.fromhex(id_)), asking(host, id=bytes.fromhex(id_), session=bytes(16))):
        line = await open_line(f"{run}/ipc/{service}")
        await line.send(request)
        line.raw_socket.setblocking(True)
        say(line.raw_socket.recv(65_536))
        line.close()


async def read(*files: str) -> None:
    """Try to read files, and to list folders."""
    for file in files:
        try:
            os.listdir(file) if Path(file).is_dir() else Path(file).read_bytes()
            say("read", file)
        except OSError as exc:
            say(exc.strerror, file)


async def flood(run: str, service: str, host: str) -> None:
    """Be a nuisance, in all ways at once, until killed."""
    path, held, number = f"{run}/ipc/{service}", list[socket.socket](), 0
    os.nice(10)  # of the daemon it takes what it can; other tests have the processor, too
    say("flooding")
    while True:
        number += 1
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(path)
            sock.setblocking(False)
            match number % 5:
                case 0:
                    sock.send(b"\xff" * 60_000)
                case 1:
                    socket.send_fds(sock, [asking(host).packed()], [0] * 50)
                case 2:
                    sock.send(asking("no-such-host").packed())
                case 3:
                    sock.send(asking(host).packed())
            held.append(sock)
        except OSError:
            sock.close()
        if len(held) > 500:
            for one in held[:250]:
                one.close()
            del held[:250]


WHAT = {
    "connect": connect,
    "hold": hold,
    "ping": ping,
    "echo": echo,
    "advertise": advertise,
    "attach": attach,
    "read": read,
    "flood": flood,
}


def main() -> None:
    user, what, *words = sys.argv[1:]
    anyio.run(checkpoint)  # imports what it needs, which this user may not be able to read
    become(user)
    anyio.run(WHAT[what], *words)


if __name__ == "__main__":
    main()
