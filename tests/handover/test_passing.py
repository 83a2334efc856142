"""Lines: packets, and the descriptors in them."""

import array
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgpack
import pytest

from chanlink import ConfigError, ConnectFailed, ConnectionLost, RemoteProtocolError
from chanlink.handover.messages import MESSAGE_MAX, Attach, Ended, HandedOver, Over, Withdrawn
from chanlink.handover.passing import Line, open_line, packet_socket
from tests.patience import PATIENCE

ID = bytes(range(16))
HANDED = HandedOver(
    id=ID,
    suite="chachapoly",
    client_key=b"c" * 32,
    server_key=b"s" * 32,
    exporter_secret=b"e" * 32,
    h=b"h" * 32,
    identity=b"i" * 32,
    peer={"key": b"k" * 32, "name": "alice"},
    address="192.0.2.1:5",
    peer_limits={},
    limits={},
    features=[],
    round_trip=5,
)
SORTS = (HandedOver, Ended, Withdrawn)


@contextmanager
def lines() -> Iterator[tuple[Line, Line]]:
    """A line of the daemon, and one of the application."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pair = Line(ours), Line(theirs, takes_connections=True)
    try:
        yield pair
    finally:
        for one in pair:
            one.close()


@contextmanager
def connections() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def send(line: Line, data: bytes, *descriptors: int) -> None:
    """Send this with these descriptors, as a hostile side would."""
    line.raw_socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


@pytest.mark.anyio
async def test_messages_come_in_their_order_each_whole() -> None:
    with lines() as (daemon, application):
        for number in range(5):
            daemon.send_now(Over(id=bytes([number] * 16), code="revoked"))
        for number in range(5):
            assert (await application.receive(Over)).id == bytes([number] * 16)
        await application.send(Ended(id=ID))
        assert await daemon.receive_any([Ended, Withdrawn]) == (Ended(id=ID), None)


@pytest.mark.anyio
async def test_a_connection_is_handed_over_and_works() -> None:
    with lines() as (daemon, application), connections() as (here, there):
        daemon.send_now(HANDED, here)
        here.close()
        received = await application.receive_any([HandedOver])
        assert received.message == HANDED
        assert received.connection is not None
        with received.connection as connection:
            assert not connection.get_inheritable()
            assert connection.getblocking() is False
            connection.send(b"hello")
            assert there.recv(10) == b"hello"


@pytest.mark.anyio
async def test_the_end_of_the_line_is_a_lost_connection() -> None:
    with lines() as (daemon, application):
        daemon.send_now(Over(id=ID, code="revoked"))
        daemon.close()
        daemon.close()
        assert (await application.receive(Over)).code == "revoked"
        with pytest.raises(ConnectionLost):
            await application.receive(Over)
        with pytest.raises(ConnectionLost):
            await application.send(Withdrawn())
        with pytest.raises(ConnectionLost):
            await daemon.receive(Over)


@pytest.mark.anyio
async def test_what_was_said_before_the_end_arrives_though_not_all_was_read_there() -> None:
    with lines() as (ours, theirs), connections() as (one, _):
        await theirs.send(Withdrawn())
        ours.send_now(HANDED, one)
        ours.send_now(Ended(id=ID))
        ours.close()
        received = await theirs.receive_any(SORTS)
        assert received.message == HANDED
        assert received.connection is not None
        received.connection.close()
        assert await theirs.receive(Ended) == Ended(id=ID)
        with pytest.raises(ConnectionLost):
            await theirs.receive(Ended)


@pytest.mark.anyio
async def test_an_empty_packet_is_the_end_of_the_line() -> None:
    with lines() as (daemon, application):
        daemon.raw_socket.send(b"")
        with pytest.raises(ConnectionLost):
            await application.receive(Over)


@pytest.mark.anyio
async def test_who_waits_on_a_line_that_is_closed_here_is_told() -> None:
    with lines() as (_, application):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_expects_the_end, application)
            await anyio.wait_all_tasks_blocked()
            application.close()


async def _expects_the_end(line: Line) -> None:
    with pytest.raises(ConnectionLost):
        await line.receive(Over)


@pytest.mark.anyio
async def test_a_receive_that_was_cancelled_has_taken_nothing() -> None:
    with lines() as (daemon, application), connections() as (here, _):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await application.receive_any(SORTS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(application.receive_any, SORTS)
            await anyio.wait_all_tasks_blocked()
            daemon.send_now(HANDED, here)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(PATIENCE):
            received = await application.receive_any(SORTS)
        assert received.connection is not None
        received.connection.close()


# --- descriptors --------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("count", [0, 2, 3, 50])
async def test_a_hand_over_has_one_descriptor_and_all_others_are_closed(count: int) -> None:
    with lines() as (daemon, application), connections() as (here, _):
        before = open_descriptors()
        send(daemon, HANDED.packed(), *[here.fileno()] * count)
        with pytest.raises(RemoteProtocolError, match="descriptors"):
            await application.receive_any(SORTS)
        assert open_descriptors() == before


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, 2, 9])
async def test_no_other_message_has_a_descriptor(count: int) -> None:
    with lines() as (daemon, application), connections() as (here, _):
        before = open_descriptors()
        send(daemon, Ended(id=ID).packed(), *[here.fileno()] * count)
        with pytest.raises(RemoteProtocolError, match="descriptors"):
            await application.receive_any(SORTS)
        assert open_descriptors() == before


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, 2, 200])
async def test_a_daemon_takes_no_descriptor_at_all(count: int) -> None:
    with lines() as (daemon, application), connections() as (here, _):
        before = open_descriptors()
        send(application, Ended(id=ID).packed(), *[here.fileno()] * count)
        with pytest.raises(RemoteProtocolError, match="descriptors"):
            await daemon.receive(Ended)
        assert open_descriptors() == before


@pytest.mark.anyio
async def test_descriptors_of_what_is_no_message_are_closed() -> None:
    with lines() as (daemon, application), connections() as (here, _):
        before = open_descriptors()
        send(daemon, b"rubbish", here.fileno())
        with pytest.raises(RemoteProtocolError, match="malformed"):
            await application.receive_any(SORTS)
        send(daemon, bytes(MESSAGE_MAX + 1), here.fileno())
        with pytest.raises(RemoteProtocolError, match="too long"):
            await application.receive_any(SORTS)
        assert open_descriptors() == before


@pytest.mark.anyio
async def test_what_is_handed_over_must_be_a_connection(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with open(tmp_path / "file", "wb") as file, listening, datagrams, lines() as (daemon, application):
        before = open_descriptors()
        for one in (file.fileno(), listening.fileno(), datagrams.fileno()):
            send(daemon, HANDED.packed(), one)
            with pytest.raises(RemoteProtocolError, match="the descriptor that came"):
                await application.receive_any(SORTS)
        assert open_descriptors() == before


@pytest.mark.anyio
async def test_a_connection_that_nobody_has_taken_ends_with_the_line() -> None:
    with lines() as (daemon, application), connections() as (here, there):
        daemon.send_now(HANDED, here)
        here.close()
        application.close()
        there.settimeout(PATIENCE)
        assert there.recv(1) == b""


# --- who does not read --------------------------------------------------------------------------


@pytest.mark.anyio
async def test_who_reads_nothing_is_not_waited_for_and_gets_no_half_message() -> None:
    with lines() as (daemon, application):
        sent = 0
        with pytest.raises(ConnectionLost, match="reads nothing"):
            for sent in range(100_000):  # noqa: B007 (it is read below)
                daemon.send_now(Over(id=ID, code="revoked"))
        for _ in range(sent):
            assert (await application.receive(Over)).code == "revoked"


@pytest.mark.anyio
async def test_an_application_waits_until_the_daemon_has_read() -> None:
    with lines() as (daemon, application):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(_say, application, 1_000)
            for _ in range(3_000):
                assert (await daemon.receive(Ended)).id == ID


async def _say(line: Line, times: int) -> None:
    for _ in range(times):
        await line.send(Ended(id=ID))


@pytest.mark.anyio
async def test_a_send_that_was_cancelled_has_said_all_or_nothing() -> None:
    with lines() as (daemon, application):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_say, application, 100_000)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        application.close()
        with pytest.raises(ConnectionLost):
            while True:
                assert (await daemon.receive(Ended)).id == ID


# --- opening ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_line_is_opened_by_the_path_of_a_socket(tmp_path: Path) -> None:
    with packet_socket() as listening:
        path = str(tmp_path / "web")
        listening.bind(path)
        listening.listen()
        line = await open_line(path)
        accepted, _ = listening.accept()
        with accepted:
            await line.send(Attach(id=ID))
            assert msgpack.unpackb(accepted.recv(MESSAGE_MAX)) == {"what": "attach", "version": 1, "id": ID}
        line.close()


@pytest.mark.anyio
async def test_where_no_daemon_is_no_line_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match=r"chanlink daemon.* have the service nobody"):
        await open_line(str(tmp_path / "nobody"))
    with packet_socket() as left:
        left.bind(str(tmp_path / "left"))
    with pytest.raises(ConnectFailed, match="chanlink daemon"):
        await open_line(str(tmp_path / "left"))
    with pytest.raises(ConfigError, match="no usable path"):
        await open_line(str(tmp_path / ("x" * 120)))


@pytest.mark.anyio
async def test_who_may_not_is_told_of_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def denied(*_: Any) -> None:  # root may connect to anything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("chanlink.handover.passing.establish", denied)
    with pytest.raises(ConfigError, match="Permission denied; is this user in the group ipc-web"):
        await open_line(str(tmp_path / "ipc" / "web"))


@pytest.mark.anyio
async def test_a_child_that_was_forked_has_no_line() -> None:
    with lines() as (daemon, application):
        application.forget()
        with pytest.raises(ConnectionLost):
            daemon.send_now(Withdrawn())
