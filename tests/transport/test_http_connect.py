"""HTTP: what a proxy is asked, what it answers, and what each answer is called."""

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from chanlink import ConnectFailed
from chanlink.transport.address import Address
from chanlink.transport.proxy import parse_proxy
from tests.patience import PATIENCE

from .proxies import THERE, asked

pytestmark = pytest.mark.anyio


async def test_http_is_asked_to_connect() -> None:
    problem, said = await asked(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n", scheme="http")
    assert problem == ""
    assert said == b"CONNECT host.example:9323 HTTP/1.1\r\nHost: host.example:9323\r\n\r\n"
    _, said = await asked(b"HTTP/1.0 200 Yes\r\n\r\n", scheme="http", user="me:secret@", there=Address("::1", 1))
    assert said.startswith(b"CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n")


@pytest.mark.parametrize(
    ("answer", "user", "problem"),
    [
        (
            b"HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nno!",
            "",
            "it wants a user: write http://user:password@host:port",
        ),
        (b"HTTP/1.1 407 No\r\n\r\n", "me:secret@", "it does not take this user and password (407)"),
        (b"HTTP/1.1 403 No\r\n\r\n", "", "its rules do not let us go there (403)"),
        (b"HTTP/1.1 502 No\r\n\r\n", "", "it does not connect us (502)"),
        (b"HTTP/1.1 302 No\r\nLocation: x\r\n\r\n", "", "it does not connect us (302)"),
        (b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "", ""),
        (b"\x05\xff\r\n\r\n", "", "its answer is none of HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "", "its answer is none of HTTP"),
        (b"HTTP/1.1 200", "", "the proxy closed the connection: is it one of http"),
        (b"", "", "the proxy closed the connection"),
    ],
    ids=str,
)
async def test_what_http_says_is_a_line(answer: bytes, user: str, problem: str) -> None:
    said, _ = await asked(answer, scheme="http", user=user)
    assert said == problem if problem in ("", said) else said.startswith(problem)


async def test_what_comes_with_the_answer_and_is_none_of_it_is_refused() -> None:
    said, _ = await asked(
        b"HTTP/1.1 200 OK\r\n\r\nmore", scheme="http", piece=100
    )  # what comes later, a handshake sees
    assert said.startswith("it sends more than its answer")


ENDLESS = [b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4_000, b"HTTP/1.1 100 Wait\r\n\r\n" * 1_000, b"x" * 20_000]


@pytest.mark.parametrize("answer", ENDLESS, ids=["headers", "informational", "line"])
async def test_an_answer_without_end_is_not_read_to_its_end(answer: bytes) -> None:
    async def flood(client: SocketStream) -> None:
        async with client:
            await client.receive()
            try:
                while True:
                    await client.send(answer)
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, flood)
        one = parse_proxy(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        with anyio.fail_after(PATIENCE), pytest.raises(ConnectFailed, match=r"no end within 16384 bytes|none of HTTP"):
            await one.connect(THERE)
        tasks.cancel_scope.cancel()
