"""The traced session in the protocol page is what the code sends, byte by byte (section 11.3)."""

import re
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink.limits import Limits
from chanlink.session.ends.ends import Ends
from chanlink.wire.opening import Opening
from tests.security.wires import sealed_pair
from tests.wire.muxes import Side, frames_of

from . import page_peer as page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
LIMITS = Limits(stream_window=1_024)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class Traced:
    """One side: a mux, and what makes ends of its streams. It writes when it is told to."""

    other: "Traced"
    now = 1_000.0

    def __init__(self, name: str, trace: list[str]) -> None:
        self.name, self.trace = name, trace
        self.side = Side(client_side=name == "client", limits=LIMITS, peer=LIMITS.announced())
        self.mux = self.side.mux
        self.mux.credit.measured(0.001)  # so that no PING is needed
        self.ends = Ends(
            self.mux,
            LIMITS,
            self.mux.peer_limits,
            wrap=lambda value: None,
            start=lambda end: None,
            before_wait=lambda: False,
        )

    def open(self, service: str, **options: Any) -> Any:
        return self.ends.adopt(self.mux.open(Opening("receiver", service=service, **options)))

    def accept(self) -> Any:
        return self.ends.adopt(self.side.opened.pop(0))

    def write(self) -> None:
        """One turn of the writer; the other side reads it."""
        Traced.now += 1  # no window grows that is used so slowly
        sent = frames_of(self.mux, self.now)
        assert sent
        if sent.startswith(page.PREFACE):
            self.note("preface", page.PREFACE)
        for frame in page.cut(sent.removeprefix(page.PREFACE)):
            self.note(described(*frame), page.frame(frame[0], frame[2], frame[3], frame[1]))
        self.other.mux.receive_data(sent, self.now)

    def note(self, what: str, data: bytes) -> None:
        self.trace += [f"{self.name}: {what}", *shortened(data)]


def described(kind: int, flags: int, stream_id: int, payload: bytes) -> str:
    words = [page.NAMES[kind]]
    if stream_id:
        words.append(f"on {stream_id}")
    if kind in (page.DATA, page.HEADERS) and flags & page.END_STREAM:
        words.append("END_STREAM")
    if kind == page.SETTINGS and flags & page.ACK:
        words.append("ACK")
    if kind == page.HEADERS:
        words += [f"{name}={value}" for name, value in page.fields_of(payload).items()]
    if kind in (page.WINDOW_UPDATE, page.TAKEN, page.DRAIN):
        words.append(str(int.from_bytes(payload, "big")))
    return " ".join(words)


def shortened(data: bytes) -> list[str]:
    """Lines of hexadecimal digits, in which `(00 x 9)` stands for nine zero bytes."""
    digits = re.sub(r"(?:00){20,}", lambda zeros: f"(00 x {len(zeros[0]) // 2})", data.hex())
    return [f"  {line}" for line in re.findall(r"(?:\(00 x \d+\)|[0-9a-f]{2}){1,46}", digits)]


async def test_the_traced_session_of_the_page_is_what_is_sent() -> None:
    steps: list[list[str]] = []

    def step() -> None:
        steps.append([])
        client.trace = server.trace = steps[-1]

    client, server = Traced("client", []), Traced("server", [])
    client.other, server.other = server, client
    step()  # 1. greetings
    client.write()
    server.write()
    client.write()
    step()  # 2. a channel, a message with two ends, and what is written to one of them at once
    requests = client.open("echo", capacity=2)
    reply, answers = chanlink.pipe()
    near, far = chanlink.byte_pipe(5)
    requests.send_nowait({"reply": reply, "body": far})
    await near.send(b"hello")
    await near.send_eof()
    client.write()
    step()  # 3. it is taken, read and answered
    accepted = server.accept()
    request = accepted.receive_nowait()
    assert (await request["body"].receive(), await received(request["body"])) == (b"hello", None)
    await request["body"].aclose()
    request["reply"].send_nowait("hi")
    request["reply"].close()
    server.write()
    assert (await answers.receive(), await received(answers)) == ("hi", None)
    assert await received(near) is None
    near.close()
    client.write()
    step()  # 4. credit
    requests.send_nowait(bytes(400))
    client.write()
    assert accepted.receive_nowait() == bytes(400)
    server.write()
    requests.send_nowait(bytes(700))
    client.write()
    server.write()
    client.write()
    assert accepted.receive_nowait() == bytes(700)
    server.write()
    step()  # 5. a service that there is not
    nothing = client.open("nothing")
    client.write()
    server.side.opened.pop(0).discard("no-such-service", "there is none")
    server.write()
    client.write()
    with pytest.raises(chanlink.ChannelRefused):
        await nothing.send(1)
    step()  # 6. the end of the channel
    requests.close()
    client.write()
    assert await received(accepted) is None
    server.write()
    step()  # 7. the end of the session
    client.mux.conclude()
    assert not client.mux.drained()
    client.write()
    server.mux.conclude()
    assert not server.mux.drained()
    server.write()
    assert client.mux.drained()
    assert server.mux.drained()
    record = await close_record()
    client.note("close record", record)
    server.note("close record", record)
    client.side.check_empty()
    server.side.check_empty()
    assert [line for block in steps for line in block] == [line for block in on_the_page() for line in block]
    assert steps == on_the_page()


async def received(end: Any) -> Any:
    """The next item, or None at the end."""
    try:
        return await end.receive()
    except chanlink.EndOfChannel:
        return None


async def close_record() -> bytes:
    """The plaintext of a close record of a session that ends in order."""
    client, server = sealed_pair()
    async with client, server:
        await client.send_close("")
        sent = await server._transport.receive(1_000)  # type: ignore[attr-defined]
        return bytes(server._keys.open(sent[2:]))


def on_the_page() -> list[list[str]]:
    """The blocks below the heading, in lines."""
    section = PAGE.read_text().partition("### 11.3 ")[2].partition("\n### ")[0]
    return [block.splitlines() for block in re.findall(r"```text\n(.*?)```", section, re.S)]
