"""Every service that this package, and its programs, can serve: which restrictions of a credential it enforces.

`ENFORCES` is the whole answer: a peer under ``force-command`` can open what stands there, and nothing else.
"""

import ast
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, Inspection, Interface, byte_pipe
from chanlink.command.actions import benchmark
from chanlink.command.actions.forwarding import forwarder, parse_target
from chanlink.command.actions.queue_process import services_of
from chanlink.directory import directory_services
from chanlink.patterns import WorkQueue, broadcast, drop_oldest, watch, work_queue
from chanlink.testing import session_over
from examples.rexec.copy.service import copy_service
from examples.rexec.server.service import ENFORCES as OF_REXEC
from examples.rexec.server.service import service as rexec_service
from tests.patience import PATIENCE
from tests.vouched import vouched

pytestmark = pytest.mark.anyio
ROOT = Path(chanlink.__file__).parent
EXAMPLES = ROOT.parent / "examples"
ENFORCES = {"rexec"}


class Adds(Protocol):
    async def add(self, a: int, b: int) -> int: ...


class Adder:
    async def add(self, a: int, b: int) -> int:
        return a + b


@asynccontextmanager
async def everything() -> AsyncIterator[dict[str, Any]]:
    """All services, each made as its program makes it; those of one kind have one name."""
    async with AsyncExitStack() as stack:
        queue: WorkQueue[Any, Any] = await stack.enter_async_context(work_queue())
        directory = await stack.enter_async_context(directory_services())
        rexec = await stack.enter_async_context(rexec_service())
        yield {
            **services_of(queue, "jobs"),
            **directory,
            "calls": Interface(Adds).serving(Adder()),
            "watch": await stack.enter_async_context(watch(1)),
            "broadcast": await stack.enter_async_context(broadcast(drop_oldest(1))),
            "chanlink.top": Inspection(),
            "forward": forwarder(parse_target("tcp://127.0.0.1:1")),
            "bench": benchmark.serve,
            "copy": copy_service(),
            "rexec": chanlink.service(rexec, enforces=OF_REXEC),
        }


MAKERS = {
    "calls/serving.py CallService": "calls",
    "patterns/jobs/queue.py WorkQueue": "jobs",
    "patterns/watch.py Watch": "watch",
    "patterns/broadcast.py Broadcast": "broadcast",
    "observing/inspection.py Inspection": "chanlink.top",
    "rexec/server/service.py Service": "rexec",
}
"""Classes whose objects are services, and the names above that are of them."""


def test_each_class_of_services_is_in_the_table() -> None:
    found = set()
    for root in (ROOT, EXAMPLES / "rexec"):
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and any(map(_is_service, node.body)):
                    found.add(f"{path.relative_to(ROOT if root is ROOT else EXAMPLES)} {node.name}")
    assert found == set(MAKERS)


def _is_service(node: ast.stmt) -> bool:
    arguments = [one.arg for one in node.args.args] if isinstance(node, ast.AsyncFunctionDef) else []
    return isinstance(node, ast.AsyncFunctionDef) and node.name == "__call__" and arguments[-1:] == ["peer"]


def test_each_file_that_says_what_it_enforces_is_known() -> None:
    """A service in a program of ours that begins to enforce something has to be looked at."""
    saying = {
        str(path.relative_to(ROOT.parent))
        for root in (ROOT, EXAMPLES)
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and any(keyword.arg == "enforces" for keyword in node.keywords)
    }
    assert saying == {"examples/rexec/cli/commands/serve.py", "examples/rexec/cli/commands/stdio.py"}


async def test_a_peer_under_a_forced_command_opens_what_enforces_it_and_nothing_else() -> None:
    one, two = byte_pipe()
    with anyio.fail_after(PATIENCE):
        async with everything() as services:
            assert set(MAKERS.values()) <= set(services)
            server = session_over(two, client_side=False, peer=vouched("force-command"), services=services)
            async with session_over(one, client_side=True) as client, server:
                assert {name for name in services if not await is_refused(client, name)} == ENFORCES


async def is_refused(client: chanlink.Session, name: str) -> bool:
    """Whether the other side says that there is no such service, to byte streams and to channels."""
    for kind in (client.open_stream, client.open):
        end: Any = await kind(name)
        reason = await end.wait_closed()
        end.close()
        if not (isinstance(reason, ChannelRefused) and reason.code == "no-such-service"):
            return False
    return True
