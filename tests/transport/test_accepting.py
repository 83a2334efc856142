"""Taking connections from a listening socket, whatever the system says."""

import errno
import os
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from chanlink.transport.accepting import accept_each, accept_waiting
from tests.patience import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


class Failing:
    """A listening socket whose first calls of accept fail."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self.sock = sock
        self.errors = list(errors)

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> Any:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self.sock.accept()


def dial(server: socket.socket) -> socket.socket:
    return socket.create_connection(server.getsockname())


async def test_each_connection_is_met_with_its_address_until_the_socket_is_closed(server: socket.socket) -> None:
    met: list[tuple[socket.socket, Any]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept_each, server, lambda *one: met.append(one), pytest.fail)
        clients = [dial(server) for _ in range(3)]
        await until(lambda: len(met) == 3)
        assert [address for _, address in met] == [client.getsockname() for client in clients]
        anyio.notify_closing(server)
        server.close()
    for sock in (*clients, *(connection for connection, _ in met)):
        sock.close()


async def test_it_rests_when_nothing_more_can_be_opened_and_goes_on(server: socket.socket) -> None:
    """Not after an error of one connection: that one is over, and the next one may be a good one."""
    problems: list[int | None] = []

    def no_room(problem: OSError) -> float:
        problems.append(problem.errno)
        return 0.01

    met: list[socket.socket] = []
    failing: Any = Failing(server, errno.EMFILE, errno.ECONNABORTED, errno.EPROTO, errno.ENOBUFS, errno.EINVAL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept_each, failing, lambda connection, _: met.append(connection), no_room)
        client = dial(server)
        await until(lambda: met)
        tasks.cancel_scope.cancel()
    assert problems == [errno.EMFILE, errno.ENOBUFS, errno.EINVAL]
    for sock in (client, *met):
        sock.close()


async def test_it_ends_when_the_socket_was_closed_without_a_word(server: socket.socket) -> None:
    server.close()  # as in a forked child
    await accept_each(server, pytest.fail, pytest.fail)


@pytest.mark.parametrize("at_once", [1, 5])
async def test_a_crowd_does_not_keep_other_tasks_from_running(server: socket.socket, at_once: int) -> None:
    met: list[socket.socket] = []
    clients = [dial(server) for _ in range(20)]
    accept = partial(accept_each, at_once=at_once)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept, server, lambda connection, _: met.append(connection), pytest.fail)
        turns = 0
        while len(met) < len(clients):
            turns += 1
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert turns >= len(clients) // at_once
    for sock in (*clients, *met):
        sock.close()


async def test_those_that_wait_are_met_before_the_socket_is_closed(server: socket.socket) -> None:
    met: list[tuple[socket.socket, Any]] = []
    clients = [dial(server) for _ in range(3)]
    accept_waiting(server, lambda *one: met.append(one), 2)
    accept_waiting(server, lambda *one: met.append(one), 2)
    assert [address for _, address in met] == [client.getsockname() for client in clients]
    server.close()
    accept_waiting(server, lambda *one: met.append(one), 2)
    for (connection, _), client in zip(met, clients, strict=True):
        with connection, client:
            connection.send(b"met")
            assert client.recv(3) == b"met"
