"""The page is served to who asks on this machine, by its own name, and to nobody else."""

import anyio
import pytest

from chanlink.command.actions.pages import LONGEST_REQUEST, serving
from chanlink.command.problems import Problem

pytestmark = pytest.mark.anyio


async def make() -> str:
    return "<p>page</p>"


async def ask(address: str, request: str) -> str:
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(request.replace("PORT", port).encode())
        answer = b""
        try:
            while True:
                answer += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return answer.decode()


async def test_the_page_may_load_and_run_nothing() -> None:
    async with serving(0, make) as address:
        answer = await ask(address, "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n")
        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert answer.endswith("\r\n\r\n<p>page</p>")
        assert "Content-Security-Policy: default-src 'none'" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: evil.example:PORT\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\n\r\n", 403),
        ("GET /other HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n", 404),
        ("\x00\xff" * LONGEST_REQUEST, 403),
    ],
)
async def test_everything_else_is_refused(request_: str, status: int) -> None:
    async with serving(0, make) as address:
        answer = await ask(address, request_)
        assert not answer or answer.startswith(f"HTTP/1.1 {status} ")
        assert "page" not in answer.replace("one page", "")


async def test_who_goes_away_disturbs_nobody() -> None:
    async with serving(0, make) as address:
        assert await ask(address, "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n")
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        async with await anyio.connect_tcp(host, int(port)):
            pass
        assert "200 OK" in await ask(address, "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n")


async def test_a_picture_that_could_not_be_made_is_said_and_the_next_may_be() -> None:
    made: list[str] = []

    async def fail_once() -> str:
        made.append("one")
        if len(made) == 1:
            raise Problem("dot failed: <script>")
        return await make()

    async with serving(0, fail_once) as address:
        answer = await ask(address, "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n")
        assert answer.startswith("HTTP/1.1 503 ")
        assert answer.endswith("dot failed: &lt;script&gt;\n")
        assert "200 OK" in await ask(address, "GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n")


async def test_a_port_that_is_taken_is_one_line() -> None:
    async with serving(0, make) as address:
        with pytest.raises(Problem, match="can't listen on port"):
            async with serving(int(address.rstrip("/").rpartition(":")[2]), make):
                pass
