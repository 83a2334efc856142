"""Peers that put escape sequences, newlines and worse into every string that they can send."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal

import chanlink
from examples.rexec.messages import run_message

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\n2026-01-01 00:00:00,000 alice connected\u202egnp.exe\u2028\u2066x"
EVIL_CODE = "\x1b[2J\n2026-01-01"
EVIL_BYTES = EVIL.encode() + b"\xff\x1b"
EVIL_FILE = EVIL_BYTES.replace(b"/", b"")[:200]

Behave = Callable[[Any, chanlink.Peer], Awaitable[None]]


def assert_harmless(text: str, where: str) -> None:
    """Nothing that a terminal obeys, and no line that only looks like one of ours."""
    for char in text:
        assert char.isprintable() or char == "\n", f"{where}: {char!r} in {text!r}"
    for line in text.splitlines():
        assert not line.startswith(("2026-01-01 00:00:00", "alice")), f"{where}: a forged line in {text!r}"


async def _say_goodbye(session: chanlink.Session) -> None:
    await session._below.send_close(EVIL_CODE, EVIL)


# --- servers -----------------------------------------------------------------------------------


async def _refuse(end: Any, peer: chanlink.Peer) -> None:
    end.refuse(EVIL_CODE, EVIL)
    if isinstance(end, chanlink.ByteStream):
        end.fail(EVIL_CODE, EVIL)


async def _fail(end: Any, peer: chanlink.Peer) -> None:
    """Take what is asked, and give up all ends that come with it."""
    if isinstance(end, chanlink.ByteStream):
        end.fail(EVIL_CODE, EVIL)
        return
    async for message in end:
        for one in _ends(message):
            if isinstance(one, chanlink.Sender | chanlink.ByteStream):
                one.fail(EVIL_CODE, EVIL)
            if isinstance(one, chanlink.Receiver | chanlink.ByteStream):
                one.refuse(EVIL_CODE, EVIL)


def _answer(*answers: object) -> Behave:
    """Send this to whoever wants an answer."""

    async def behave(end: Any, peer: chanlink.Peer) -> None:
        if isinstance(end, chanlink.ByteStream):
            return
        with suppress(chanlink.ChannelError):
            async for message in end:
                ends = dict(message) if isinstance(message, dict) else {"status": message}
                for name in {"status", "report", "reply"} & set(ends):
                    async with ends.pop(name) as one:
                        for answer in answers:
                            await one.send(answer)
                if "do" not in ends:  # a copy would be given up, and its problems not shown
                    for one in _ends(ends):
                        await one.aclose()
        for one in _ends(ends):
            await one.aclose()

    return behave


_CHANNEL = {"service": EVIL, "end": EVIL, "waits": [EVIL, "credit"], "id": EVIL, "sending": 1}
SERVICES: dict[str, Behave] = {
    "refuses": _refuse,
    "fails": _fail,
    "answers an error": _answer({"error": EVIL, "text": EVIL}),
    "answers a status with a note": _answer({"exit": 0, "note": EVIL}),
    "answers names": _answer({"detached": EVIL}),
    "answers a list": _answer({"commands": [["one", EVIL, 5, 1.0, None], ["two", EVIL, 0, 1.0, -9]]}),
    "reports sessions": _answer({"peer": EVIL, "address": EVIL, "suite": EVIL, "key": EVIL, "channels": [_CHANNEL]}),
    "reports problems": _answer(
        {"problem": EVIL}, {"note": EVIL}, {"at": [1, 1, 0], "name": EVIL_BYTES}, {"done": [1, 1, 0]}
    ),
    "reports a failure": _answer({"failed": EVIL}),
    "says nonsense": _answer(EVIL),
}  # fmt: skip


def _ends(value: object) -> Iterator[Any]:
    if isinstance(value, chanlink.Sender | chanlink.Receiver | chanlink.ByteStream):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _ends(entry)


NAMES = ("rexec", "copy", "chanlink.bench", "chanlink.top")


@asynccontextmanager
async def _listening(identity: chanlink.Identity, trust: chanlink.Trust, how: str) -> AsyncIterator[str]:
    if how == "closes the session":
        async with (
            chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=trust) as listener,
            anyio.create_task_group() as tasks,
        ):

            async def close() -> None:
                while True:
                    await _say_goodbye(await listener.accept())

            tasks.start_soon(close)
            yield listener.addresses[0]
            tasks.cancel_scope.cancel()
        return
    behave = SERVICES[how]
    services: dict[str, Any] = dict.fromkeys(NAMES, behave) | {"cat": chanlink.streams(behave)}
    services["forward:tcp://127.0.0.1:1"] = chanlink.streams(behave)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=trust, services=services) as listener:
        yield listener.addresses[0]


@contextmanager
def hostile_server(identity: chanlink.Identity, trust: chanlink.Trust, how: str) -> Iterator[str]:
    """In a thread of its own; gives its address."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_listening(identity, trust, how)) as where,
    ):
        yield where


HOW = [*SERVICES, "closes the session"]


# --- clients ------------------------------------------------------------------------------------


async def attack(address: str, identity: chanlink.Identity, peer: chanlink.PublicKey) -> None:
    """Say all that a client can say to a server, and leave."""
    async with chanlink.connect(address, identity=identity, peer=peer) as session:
        for name in (*NAMES, EVIL):
            for request in _requests(name):
                with anyio.move_on_after(5), suppress(chanlink.ChanlinkError):
                    await _ask(session, name, request)
        for name in ("cat", "forward:tcp://127.0.0.1:1", EVIL):
            with suppress(chanlink.ChanlinkError):
                async with await session.open_stream(name) as stream:
                    stream.refuse(EVIL_CODE, EVIL)
                    stream.fail(EVIL_CODE, EVIL)
        with suppress(chanlink.ChanlinkError):
            await _say_goodbye(session)


async def _ask(session: chanlink.Session, name: str, request: object) -> None:
    async with await session.open(name) as requests:
        await requests.send(request)
        for end in [*_ends(request), requests]:
            if isinstance(end, chanlink.Receiver | chanlink.ByteStream):
                end.refuse(EVIL_CODE, EVIL)
            if isinstance(end, chanlink.Sender | chanlink.ByteStream):
                end.fail(EVIL_CODE, EVIL)


def _requests(name: str) -> Iterator[object]:
    yield EVIL
    yield {EVIL: EVIL}
    yield {"take": chanlink.pipe()[1], "reply": chanlink.pipe()[0]}
    yield {"echo": chanlink.pipe()[1], "reply": chanlink.pipe()[0]}
    yield {"take": chanlink.byte_pipe()[1]}
    if name == "rexec":
        for argv, more in (
            ([EVIL, EVIL_BYTES], {}),
            (["echo", EVIL], {"directory": EVIL}),
            (["echo", EVIL], {"directory": EVIL_BYTES, "environment": {EVIL.replace("=", ""): EVIL_BYTES}}),
            (["echo", EVIL], {"user": EVIL}),
            (["echo", EVIL], {"detach": EVIL}),
            (["echo", EVIL_BYTES], {}),
            (["echo", EVIL], {"limits": {EVIL: 1}}),
        ):
            ends = {"stdio": chanlink.byte_pipe()[1], "stderr": chanlink.byte_pipe()[1], "status": chanlink.pipe()[0]}
            yield run_message(argv, ends, **more)
        yield run_message(["echo", EVIL], {"status": chanlink.pipe()[0]}, detach="")
        for verb in ("attach", "kill", EVIL):
            ends = {"stdout": chanlink.byte_pipe()[1], "stderr": chanlink.byte_pipe()[1], "status": chanlink.pipe()[0]}
            yield {"request": verb, "name": EVIL, "signal": EVIL, **ends}
    if name == "copy":
        send = {"do": "send", "paths": [EVIL_BYTES], "entries": chanlink.pipe()[0], "answers": chanlink.pipe()[1]}
        receive = {"do": "receive", "path": EVIL_BYTES, "entries": chanlink.pipe()[1], "answers": chanlink.pipe()[0]}
        for request in (send, receive, {"do": EVIL}):
            yield {**request, "names": [EVIL_FILE], "recursive": True, "report": chanlink.pipe()[0]}
