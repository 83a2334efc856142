"""The fixtures for users' tests: real runs of pytest, each in a process of its own, over tests as users write them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

SERVICE = """
import anyio
import chanlink
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=["asyncio", ("asyncio", {"use_uvloop": True}), "trio"], ids=["asyncio", "uvloop", "trio"]
)
def anyio_backend(request):
    return request.param


async def greet(requests, peer):
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send(f"{request['say']}, {peer.name}")


async def ask(session, say="hello"):
    async with await session.open("greet") as requests:
        reply, replies = chanlink.pipe()
        async with replies:
            await requests.send({"say": say, "reply": reply})
            return await replies.receive()


@pytest.fixture
def chanlink_services():
    return {"greet": greet}
"""


class Ran(NamedTuple):
    passed: int
    failed: int
    errors: int
    output: str


def run_pytest(folder: Path, tests: str, *options: str, python: tuple[str, ...] = ()) -> Ran:
    """Run these tests; as in any environment that has chanlink, which does not name the plugin."""
    (folder / "test_users.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p no:xdist -p chanlink_pytest\n")
    done = subprocess.run(
        [sys.executable, *python, "-m", "pytest", "-q", *options, "test_users.py"],
        cwd=folder, capture_output=True, text=True, timeout=PATIENCE, env={"PYTHONPATH": str(ROOT), "PATH": "/bin"},
    )  # fmt: skip
    assert not done.stderr, done.stderr
    counts = [re.search(rf"\b(\d+) {word}", done.stdout.splitlines()[-1]) for word in ("passed", "failed", "error")]
    return Ran(*(int(count[1]) if count else 0 for count in counts), done.stdout)


def test_fixtures_work_on_each_event_loop_and_in_whatever_scopes_a_test_has(tmp_path: Path) -> None:
    ran = run_pytest(
        tmp_path,
        SERVICE
        + """
async def test_a_pair(chanlink_pair):
    client, server = chanlink_pair
    assert await ask(client) == "hello, client"
    assert (client.peer.name, server.peer.name) == ("server", "client")

@pytest.mark.parametrize("chanlink_pair", [{"over": "sockets", "may_use": ["other"]}], indirect=True)
async def test_a_pair_with_options(chanlink_pair):
    sender = await chanlink_pair.client.open("greet")
    assert (await sender.wait_closed()).code == "no-such-service"
    sender.close()

async def test_servers_and_clients(chanlink_server):
    with anyio.move_on_after(0) as scope:  # what is started is not within it
        await anyio.sleep(1)
    async with anyio.create_task_group() as tasks:
        first = await chanlink_server()
        tasks.cancel_scope.cancel()
    second = await chanlink_server({"greet": greet}, address="tcp://127.0.0.1:0")
    for server in (first, second):
        async with server.connect("alice") as alice, server.connect("bob") as bob:
            assert await ask(alice) == "hello, alice"
            assert await ask(bob) == "hello, bob"

async def test_faults_at_a_moment(chanlink_pair, chanlink_server):
    await chanlink_pair.server_wire.cut()
    assert isinstance(await chanlink_pair.client.wait_closed(), chanlink.SessionError)
    server = await chanlink_server()
    async with server.connect("alice", faults={}) as session:
        server.wires["alice"].stall()
        with anyio.move_on_after(0.01) as scope:
            await ask(session)
        assert scope.cancelled_caught

@pytest.mark.parametrize("chanlink_pair", [{"client_faults": {"cut_after": 2_000}}], indirect=True)
async def test_a_fault_at_a_byte(chanlink_pair):
    with pytest.raises((chanlink.SessionError, chanlink.ChannelError)):
        while True:
            await ask(chanlink_pair.client)
""",
    )
    assert (ran.passed, ran.failed, ran.errors) == (15, 0, 0), ran.output


def test_what_a_test_leaves_behind_is_an_error_that_names_it_and_may_be_allowed(tmp_path: Path) -> None:
    ran = run_pytest(
        tmp_path,
        SERVICE
        + """
async def test_forgets(chanlink_pair):
    await chanlink_pair.client.open("greet")

async def test_forgets_in_a_circle(chanlink_server):
    server = await chanlink_server()
    async with server.connect() as session:
        circle = [chanlink.pipe()[0]]
        circle.append(circle)

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaves_a_task(chanlink_pair, anyio_backend):
    import asyncio
    asyncio.create_task(asyncio.sleep(1_000), name="that stays")

@pytest.mark.chanlink_may_leak
async def test_may(chanlink_pair):
    await chanlink_pair.client.open("greet")

async def test_leaves_nothing(chanlink_pair):
    await ask(chanlink_pair.client)
""",
        "--strict-markers",
    )
    assert (ran.passed, ran.failed, ran.errors) == (13, 0, 7), ran.output
    assert "the test has left something behind:\n" in ran.output
    assert "  a Sender of the service 'greet' was forgotten without closing it\n" in ran.output
    assert "  the task 'that stays' (<coroutine object sleep" in ran.output
    assert ran.output.count("was forgotten") >= 6


def test_a_test_that_fails_shows_why_and_what_its_service_has_raised(tmp_path: Path) -> None:
    ran = run_pytest(
        tmp_path,
        SERVICE
        + """
async def broken(requests, peer):
    async for request in requests:
        raise LookupError("the service's own words")

async def test_a_service_that_breaks(chanlink_server):
    server = await chanlink_server({"greet": broken})
    async with server.connect("alice") as alice:
        assert await ask(alice) == "hello, alice"

async def test_a_wrong_answer(chanlink_pair):
    assert await ask(chanlink_pair.client) == "hi"
""",
    )
    assert (ran.passed, ran.failed, ran.errors) == (0, 6, 0), ran.output
    assert "AssertionError: assert 'hello, client' == 'hi'" in ran.output
    assert "Captured log call" in ran.output
    assert "LookupError: the service's own words" in ran.output


def test_who_does_not_use_it_does_not_pay_for_it(tmp_path: Path) -> None:
    """The plugin is loaded, and neither chanlink nor what that needs is imported."""
    ran = run_pytest(
        tmp_path,
        """
import sys

def test_what_is_imported(request):
    assert request.config.pluginmanager.has_plugin("chanlink_pytest")
    assert not {"chanlink", "nacl", "h2", "msgpack"} & set(sys.modules)
""",
    )
    assert (ran.passed, ran.failed, ran.errors) == (1, 0, 0), ran.output


def test_the_package_tells_pytest_of_the_plugin() -> None:
    lines = (ROOT / "pyproject.toml").read_text().split("[project.entry-points.pytest11]\n")[1].splitlines()
    assert lines[0] == 'chanlink_pytest = "chanlink_pytest"'
