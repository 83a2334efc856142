"""A layer over each connection: made in the acceptor's time; and what a stranger does wrong is a line in the log."""

import logging
import socket
from typing import Any

import anyio
import pytest

from chanlink import ConnectFailed
from chanlink.transport.accepting import Listening
from chanlink.transport.address import Address
from chanlink.transport.base import BufferedTransport, Transport
from chanlink.transport.layered_listening import LayeredListening
from chanlink.transport.listen import listening_sockets
from tests.patience import PATIENCE, until

from .taking import Taking

pytestmark = pytest.mark.anyio


class Over(BufferedTransport):
    """A layer that leaves the bytes as they are."""


async def listening(layer: Any) -> tuple[Listening, tuple[str, int]]:
    below = await listening_sockets(Address("127.0.0.1", 0))
    return LayeredListening(below, layer, ["layered://here"]), below.sockets[0].getsockname()


def dial(where: tuple[str, int]) -> socket.socket:
    client = socket.create_connection(where)
    client.settimeout(PATIENCE)
    return client


async def test_a_layer_is_put_over_what_comes() -> None:
    goes_on = anyio.Event()

    async def layer(transport: Transport) -> Transport:
        await goes_on.wait()
        return Over(transport)

    one, where = await listening(layer)
    assert one.addresses == ["layered://here"]
    async with anyio.create_task_group() as tasks:
        taking = Taking(tasks)
        one.start(tasks, taking)
        with dial(where) as client:
            await until(lambda: taking.addresses == [client.getsockname()])
            assert taking.streams == []  # it is known of before its layer is there
            goes_on.set()
            await until(lambda: taking.streams)
            assert isinstance(taking.streams[0], Over)
            client.sendall(b"hello")
            assert await taking.streams[0].receive() == b"hello"
        one.close()
        with pytest.raises(ConnectionRefusedError):
            dial(where)
        await taking.close()


@pytest.mark.parametrize(
    "problem",
    [
        ConnectFailed("Klingon"),
        anyio.EndOfStream(),
        anyio.BrokenResourceError(),
        ConnectionResetError("reset"),
    ],
    ids=["no layer", "end", "broken", "reset"],
)
async def test_what_a_stranger_does_closes_its_connection_alone(
    problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    problems = [problem]

    async def layer(transport: Transport) -> Transport:
        if problems:
            raise problems.pop()
        return Over(transport)

    one, where = await listening(layer)
    async with anyio.create_task_group() as tasks:
        taking = Taking(tasks)
        one.start(tasks, taking)
        with dial(where) as first:
            assert await anyio.to_thread.run_sync(first.recv, 1) == b""
            with dial(where):
                await until(lambda: taking.streams)
        one.close()
        await taking.close()
    (record,) = [each for each in caplog.records if each.name == "chanlink.transport.layered_listening"]
    assert (str(problem) or "it ended") in record.getMessage()
    assert record.exc_info is None


async def test_a_defect_closes_the_connection_and_is_not_swallowed() -> None:
    async def layer(transport: Transport) -> Transport:
        raise LookupError("a defect")

    one, where = await listening(layer)
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as tasks:
            one.start(tasks, Taking(tasks))
            with dial(where) as client:
                assert await anyio.to_thread.run_sync(client.recv, 1) == b""
                await anyio.sleep_forever()
    one.close()
    assert [repr(each) for each in caught.value.exceptions] == ["LookupError('a defect')"]


async def test_those_that_wait_are_given_to_the_acceptor_before_it_is_closed() -> None:
    async def layer(transport: Transport) -> Transport:
        return Over(transport)

    one, where = await listening(layer)
    async with anyio.create_task_group() as tasks:
        taking = Taking(tasks)
        one.start(tasks, taking)
        with dial(where) as client:
            one.give_waiting()
            one.close()
            await until(lambda: taking.streams)
            assert taking.addresses == [client.getsockname()]
        await taking.close()
