"""Every asynchronous test runs on asyncio, asyncio with uvloop, and trio."""

import gc
import re
import signal
from collections.abc import AsyncIterator, Generator

import pytest

from . import unsteady
from .etcd import etcd, server_of_etcd
from .leaks import Leaks, nothing_left
from .luck import pytest_runtest_call
from .postgres import postgres
from .security.keys.programs import ssh_agent
from .tiers import leave_out, pytest_addoption, pytest_ignore_collect, pytest_xdist_auto_num_workers, slow_first

__all__ = [
    "etcd",
    "postgres",
    "pytest_addoption",
    "pytest_ignore_collect",
    "pytest_runtest_call",
    "pytest_xdist_auto_num_workers",
    "server_of_etcd",
    "ssh_agent",
]

# Processes that the tests start inherit what is ignored here: Ctrl-C, if the tests run in the background of a shell.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

LONGEST_ID = 24


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(unsteady)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long values are not spelt out in the names of tests: keys that are made for the tests differ each time,
    and the processes that share the tests have to agree on their names.
    """
    if isinstance(val, bytes | bytearray | memoryview):
        return argname
    if isinstance(val, str) and len(val) > LONGEST_ID:
        return val[:LONGEST_ID].encode("unicode_escape").decode()
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out(config, items)
    slow_first(config, items)
    if unstable := [item.nodeid for item in items if re.search(r" at 0x\w+>", item.nodeid)]:
        raise pytest.UsageError(f"the name of a test is another one in each process, give it ids: {unstable[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: looking for garbage in it would be a sixth of the work."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    keep_tests_apart()


def keep_tests_apart() -> None:
    """The tests themselves are thousands of objects: a collection of garbage, which would take a second, does not look
    through them. Whoever calls `gc.unfreeze` calls this afterwards.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Plugins that look at what refers to what find all of it again."""
    gc.unfreeze()


BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def no_leaks(anyio_backend: object) -> AsyncIterator[Leaks]:
    """After the test, this process has the descriptors, busy threads, tasks and children that it had before."""
    async with nothing_left() as leaks:
        yield leaks
