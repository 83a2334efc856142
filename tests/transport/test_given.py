"""Listeners that a program has made: as sockets where they are sockets, and known of early where they are not."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream, TaskGroup, UNIXSocketStream
from anyio.streams.stapled import MultiListener

from chanlink.transport.accepting import Listening
from chanlink.transport.base import BufferedTransport
from chanlink.transport.given import GivenListener, given_listener, given_stream
from chanlink.transport.listen import ListeningSockets
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE, until

from .taking import Taking

pytestmark = pytest.mark.anyio


class Slow(Listener[Any]):
    """Makes byte streams of what another one accepts, when it is told to; fails first, if asked to."""

    def __init__(self, below: Listener[Any], *problems: Exception) -> None:
        self.below = below
        self.problems = list(problems)
        self.goes_on = anyio.Event()
        self.served = 0
        self.closed = False

    async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
        async def slowly(stream: ByteStream) -> None:
            await self.goes_on.wait()
            await handler(stream)

        self.served += 1
        if self.problems:
            raise self.problems.pop(0)
        await self.below.serve(slowly, task_group)

    async def aclose(self) -> None:
        self.closed = True
        await self.below.aclose()


async def local() -> Any:
    return await anyio.create_tcp_listener(local_host="127.0.0.1")


def port_of(listener: Any) -> int:
    return int(listener.extra(SocketAttribute.local_port))


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def caused_by(number: int) -> Exception:
    """As anyio says it on trio."""
    problem = anyio.BrokenResourceError()
    problem.__cause__ = OSError(number, os.strerror(number))
    return problem


# --- sockets ----------------------------------------------------------------------------------------------


async def test_a_listener_of_sockets_is_used_as_its_sockets() -> None:
    theirs = MultiListener([await local(), await local()])
    listening = given_listener(theirs)
    assert isinstance(listening, ListeningSockets)
    ports = [port_of(one) for one in theirs.listeners]
    assert listening.addresses == [f"tcp://127.0.0.1:{port}" for port in ports]
    async with anyio.create_task_group() as tasks:
        taking = Taking(tasks)
        listening.start(tasks, taking)
        clients = [dial(port) for port in ports]
        await until(lambda: len(taking.transports) == 2)
        assert sorted(taking.addresses) == sorted(client.getsockname() for client in clients)  # type: ignore[type-var]
        assert all(isinstance(one, SocketTransport) for one in taking.transports)
        listening.close()
    await taking.close()
    for client, port in zip(clients, ports, strict=True):
        client.close()
        with pytest.raises(ConnectionRefusedError):
            dial(port)


async def test_a_unix_socket_of_the_programs_has_its_address_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening = given_listener(await anyio.create_unix_listener(path))
    assert listening.addresses == [f"unix:{path}"]
    listening.close()
    assert path.exists()  # who has made it may have its reasons


async def test_a_stream_of_a_unix_socket_is_used_as_its_socket_and_any_other_behind_a_buffer() -> None:
    one, other = socket.socketpair()
    transport = given_stream(await UNIXSocketStream.from_socket(one))
    assert isinstance(transport, SocketTransport)
    await transport.send(b"hello")
    assert other.recv(10) == b"hello"
    await transport.aclose()
    assert (one.fileno(), other.recv(10)) == (-1, b"")
    other.close()
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await SocketStream.from_socket(socket.create_connection(server.getsockname()))
        transport = given_stream(stream)
        assert isinstance(transport, BufferedTransport)
        assert given_stream(transport) is transport
        await transport.aclose()


# --- any other --------------------------------------------------------------------------------------------


async def test_a_connection_is_known_before_its_stream_is_there() -> None:
    below = await local()
    slow = Slow(below)
    listening: Listening = given_listener(slow)
    assert isinstance(listening, GivenListener)
    assert listening.addresses == []
    async with anyio.create_task_group() as tasks:
        taking = Taking(tasks)
        listening.start(tasks, taking)
        with dial(port_of(below)) as client, anyio.fail_after(PATIENCE):
            await until(lambda: taking.addresses == [client.getsockname()])
            assert taking.streams == []
            slow.goes_on.set()
            await until(lambda: taking.streams)
            client.sendall(b"hello")
            assert await taking.streams[0].receive() == b"hello"
            listening.close()
            await until(lambda: slow.closed)
    await taking.close()


async def test_trouble_of_the_system_is_a_rest_and_then_it_goes_on() -> None:
    below = await local()
    problems = [
        OSError(errno.EMFILE, "too many"),
        caused_by(errno.ENOBUFS),
        OSError(errno.ECONNABORTED, "of one connection"),
        ExceptionGroup("two listeners", [caused_by(errno.ENFILE), OSError(errno.EPROTO, "of one connection")]),
    ]
    slow = Slow(below, *problems)
    slow.goes_on.set()
    listening = given_listener(slow)
    async with anyio.create_task_group() as tasks:
        taking = Taking(tasks)
        listening.start(tasks, taking)
        with dial(port_of(below)):
            await until(lambda: taking.streams)
        assert taking.problems == [errno.EMFILE, errno.ENOBUFS, errno.ENFILE]
        assert slow.served == len(problems) + 1
        listening.close()
    await taking.close()


@pytest.mark.parametrize(
    "problem",
    [anyio.ClosedResourceError(), ExceptionGroup("of two", [anyio.ClosedResourceError(), anyio.ClosedResourceError()])],
    ids=["one", "two"],
)
async def test_a_listener_that_the_program_has_closed_gives_no_more(problem: Exception) -> None:
    slow = Slow(await local(), problem)
    async with anyio.create_task_group() as tasks:
        given_listener(slow).start(tasks, Taking(tasks))
    assert slow.closed


async def test_one_that_has_nothing_to_listen_to_is_over() -> None:
    async with anyio.create_task_group() as tasks:
        given_listener(MultiListener([])).start(tasks, Taking(tasks))


@pytest.mark.parametrize(
    "problem",
    [anyio.BrokenResourceError(), LookupError("a defect"), ExceptionGroup("two", [LookupError(), caused_by(1)])],
    ids=repr,
)
async def test_whatever_else_a_listener_raises_is_raised(problem: Exception) -> None:
    slow = Slow(await local(), problem)
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as tasks:
            given_listener(slow).start(tasks, Taking(tasks))
    assert repr(caught.value.exceptions) == repr((problem,))
    assert slow.closed


async def test_one_that_is_closed_before_it_begins_accepts_nothing() -> None:
    slow = Slow(await local())
    listening = given_listener(slow)
    listening.close()
    async with anyio.create_task_group() as tasks:
        listening.start(tasks, Taking(tasks))
    assert slow.closed


async def test_what_a_listener_starts_and_waits_for_is_a_task_of_ours() -> None:
    """All but `start_soon` is that of the group itself."""
    seen: list[object] = []

    class Odd(Listener[Any]):
        async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
            assert task_group is not None

            async def begin(*, task_status: Any) -> None:
                task_status.started("begun")

            seen.append(await task_group.start(begin))
            seen.append(task_group.cancel_scope)

        async def aclose(self) -> None:
            pass

    async with anyio.create_task_group() as tasks:
        given_listener(Odd()).start(tasks, Taking(tasks))
    assert seen == ["begun", tasks.cancel_scope]
