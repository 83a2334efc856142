"""A credential that is shown while the session lasts: rekey records of number 4 (protocol section 3.5)."""

import os

import anyio
import pytest

from chanlink import RemoteProtocolError
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.payloads import CREDENTIAL_MAX
from chanlink.security.rekey import REKEY, SHOW
from chanlink.security.resuming.resumable import ResumableStream
from tests.patience import PATIENCE

from .handshakes import one_backend, stream_pair
from .test_rekey import OFTEN, Side, sides

pytestmark = pytest.mark.anyio


def record(side: Side, blob: bytes) -> None:
    side.sent.append(side.keys.seal(REKEY, bytes([SHOW]) + blob))


def test_one_is_taken_where_both_have_said_that_they_know_of_it() -> None:
    client, server = sides()
    taken: list[bytes] = []
    for side in (client, server):
        side.keys.expect_credentials()
        side.keys.on_credential(taken.append)
    record(client, b"of the client")
    server.read(client)
    record(server, b"of the server")
    client.read(server)
    assert taken == [b"of the client", b"of the server"]


def test_else_it_is_out_of_turn() -> None:
    client, server = sides()
    record(client, b"blob")
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        server.read(client)


@pytest.mark.parametrize("size", [0, CREDENTIAL_MAX + 1])
def test_one_of_a_length_that_there_is_not_ends_the_session(size: int) -> None:
    client, server = sides()
    server.keys.expect_credentials()
    record(client, bytes(size))
    with pytest.raises(RemoteProtocolError, match="of a length"):
        server.read(client)


def test_one_that_came_before_anybody_looks_is_kept_and_only_the_newest() -> None:
    client, server = sides()
    server.keys.expect_credentials()
    for blob in (b"older", b"newer"):
        record(client, blob)
    server.read(client)
    taken: list[bytes] = []
    server.keys.on_credential(taken.append)
    assert taken == [b"newer"]
    record(client, b"newest")
    server.read(client)
    assert taken == [b"newer", b"newest"]


def test_a_flood_of_them_ends_the_session() -> None:
    client, server = sides()
    server.keys.expect_credentials()
    with pytest.raises(RemoteProtocolError, match="too often"):
        for _ in range(101):
            record(client, b"blob")
            server.read(client)


def test_they_come_at_any_time_of_a_renewal_of_keys_and_change_nothing_of_it() -> None:
    client, server = sides(OFTEN)
    taken: list[bytes] = []
    for side in (client, server):
        side.keys.expect_credentials()
        side.keys.on_credential(taken.append)
    for number in range(20):
        for side, other in [(client, server), (server, client), (client, server)]:
            record(side, b"before")
            side.write(b"%d" % number)
            record(side, b"after")
            assert other.read(side) == [b"%d" % number]
    assert client.keys.epoch == server.keys.epoch == 20
    assert taken == [b"before", b"after"] * 60


# --- streams ------------------------------------------------------------------------------------


def knowing() -> tuple[NoiseStream, NoiseStream]:
    left, right, *_ = stream_pair()
    for one in (left, right):
        one._keys.expect_credentials()
    return left, right


async def test_a_stream_shows_it_before_the_data_that_waits() -> None:
    left, right = knowing()
    taken: list[bytes] = []
    woken: list[bool] = []
    right.on_credential(taken.append)
    left.on_output(lambda: woken.append(True))
    blob = os.urandom(CREDENTIAL_MAX)
    left.show_credential(b"an older one")
    left.show_credential(blob)
    assert left.has_output()
    assert woken
    await left.send(b"data")
    assert not left.has_output()
    assert await right.receive() == b"data"
    assert taken == [blob]


@one_backend
async def test_nothing_is_shown_to_a_peer_that_does_not_know_of_it() -> None:
    left, *_ = stream_pair()
    left.show_credential(b"blob")
    assert not left.has_output()


@one_backend
async def test_nothing_is_shown_behind_the_close_record() -> None:
    left, right = knowing()
    taken: list[bytes] = []
    right.on_credential(taken.append)
    left.add_close("", "")
    left.show_credential(b"before it")
    await left.send(b"")
    left.show_credential(b"behind it")
    assert not left.has_output()
    assert taken == []
    with pytest.raises(anyio.EndOfStream):
        await right.receive()
    assert taken == [b"before it"]


@one_backend
async def test_a_stream_that_comes_back_shows_it_over_the_connection_that_it_has_and_else_not_at_all() -> None:
    left, right = knowing()
    sizes = {"unacknowledged": 65_536, "peer_unacknowledged": 65_536, "progress": 10.0, "patience": 10.0}
    one, other = ResumableStream(left, **sizes), ResumableStream(right, **sizes)  # type: ignore[arg-type]
    taken: list[bytes] = []
    other.on_credential(taken.append)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.keep)
            tasks.start_soon(other.keep)
            one.show_credential(b"blob")
            await one.send(b"data")
            assert await other.receive() == b"data"
            one.freeze()
            one.show_credential(b"while it is away")
            tasks.cancel_scope.cancel()
    assert taken == [b"blob"]
