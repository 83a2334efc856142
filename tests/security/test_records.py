"""Records without a connection: what a writer makes, and what a reader makes of it, however it is cut."""

import os
from itertools import pairwise
from typing import NamedTuple

import msgpack
import pytest

from chanlink import ConnectionLost, HandshakeError, Identity, RemoteProtocolError, SessionClosed, UntrustedPeer
from chanlink.errors import LocalProtocolError
from chanlink.limits import MAX_RECORD
from chanlink.security import suites
from chanlink.security.buffers import Buffers
from chanlink.security.records import CLOSE, COUNT, DATA, RECEIVED, WELCOME, RecordReader, RecordWriter, prefixed
from chanlink.security.rekey import FORKED, RecordKeys, Secrets, Thresholds

ALICE = Identity.generate("alice")
SUITE = "chachapoly"
FULL_BODY = 65_518
BUFFERS = Buffers()


class Side(NamedTuple):
    keys: RecordKeys
    writer: RecordWriter
    reader: RecordReader

    def sealed(self, now: float = 0.0) -> bytes:
        """All records of what was added."""
        data = bytes(self.writer.seal_some(now))
        while self.writer.has_more:
            data += self.writer.seal_some(now)
        return data

    def receive(self, data: bytes, now: float = 0.0) -> list[bytes]:
        """The bodies that these bytes bring."""
        self.reader.space()[: len(data)] = data
        self.reader.filled(len(data), now)
        return list(self.reader.take_all())


def sides(thresholds: Thresholds | None = None) -> tuple[Side, Side]:
    """A client and a server, as after a handshake."""
    secrets = Secrets(*(os.urandom(32) for _ in range(4)))
    return _side(secrets, True, thresholds), _side(secrets, False, thresholds)


def _side(secrets: Secrets, client_side: bool, thresholds: Thresholds | None) -> Side:
    suite = suites.suite(SUITE)
    keys = RecordKeys(secrets, suite, client_side=client_side, now=0.0, plain=BUFFERS.plain, thresholds=thresholds)
    return Side(keys, RecordWriter(keys, BUFFERS.sealed), RecordReader(keys, BUFFERS.arrived))


def lengths(data: bytes) -> list[int]:
    """Of the records in it."""
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append(length)
        data = data[2 + length :]
    return found


# --- out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, FULL_BODY, FULL_BODY + 1, 3 * FULL_BODY, 20 * FULL_BODY + 5])
def test_bytes_become_as_few_records_as_possible(size: int) -> None:
    near, far = sides()
    data = os.urandom(size)
    near.writer.add([data])
    sealed = near.sealed()
    whole, rest = divmod(size, FULL_BODY)
    assert lengths(sealed) == [MAX_RECORD] * whole + ([rest + 17] if rest else [])
    got = b""
    for begin in range(0, len(sealed), 200_000):
        got += b"".join(far.receive(sealed[begin : begin + 200_000]))
    assert got == data


@pytest.mark.parametrize("cuts", [[], [1], [9, 65_502], [65_517, 65_518, 65_519], range(1, 200_000, 999)])
def test_parts_leave_as_if_they_were_joined(cuts: list[int]) -> None:
    near, far = sides()
    whole = os.urandom(200_000)
    parts = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]
    near.writer.add(parts[:3])
    near.writer.add(parts[3:])
    sealed = near.sealed()
    assert lengths(sealed) == [MAX_RECORD] * 3 + [200_000 - 3 * FULL_BODY + 17]
    assert b"".join(far.receive(sealed)) == whole


def test_no_more_is_sealed_at_a_time_than_the_buffer_has_room_for() -> None:
    near, _ = sides()
    near.writer.add([bytes(10 * FULL_BODY)])
    first = near.writer.seal_some(0.0)
    assert lengths(bytes(first)) == [MAX_RECORD] * 4
    assert near.writer.has_more


def test_nothing_becomes_nothing() -> None:
    near, _ = sides()
    near.writer.add([])
    assert not near.writer.has_more
    assert near.sealed() == b""


def test_a_record_of_another_kind_comes_behind_all_data() -> None:
    near, far = sides()
    near.writer.add([bytes(300_000)])
    near.writer.add_record(CLOSE, msgpack.packb({"code": "done", "text": "it is over"}))
    sealed = near.sealed()
    got = sum(map(len, far.receive(sealed[:250_000])))
    assert not far.reader.ended
    assert got + sum(map(len, far.receive(sealed[250_000:]))) == 300_000
    assert far.reader.ended
    assert far.reader.peer_close == ("done", "it is over")


def test_a_body_that_is_too_long_is_refused_and_harms_nothing() -> None:
    near, far = sides()
    with pytest.raises(LocalProtocolError, match="does not fit"):
        near.writer.add_record(DATA, bytes(FULL_BODY + 1))
    assert not near.writer.has_more
    near.writer.add_record(DATA, bytes(FULL_BODY))
    assert far.receive(near.sealed()) == [bytes(FULL_BODY)]


def test_what_is_forgotten_is_not_sealed() -> None:
    near, _ = sides()
    near.writer.add([b"data"])
    near.writer.add_record(CLOSE, b"")
    near.writer.forget()
    assert near.sealed() == b""


# --- in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100, 1_000_000])
def test_records_are_opened_however_they_are_cut(piece: int) -> None:
    near, far = sides()
    bodies = [os.urandom(size) for size in (1, 5, 100, 1, 3_000)]
    sealed = b""
    for body in bodies:
        near.writer.add([body])
        sealed += near.sealed()
    got = []
    for begin in range(0, len(sealed), piece):
        got += far.receive(sealed[begin : begin + piece])
    assert got == bodies


def test_the_beginning_of_a_record_leaves_room_for_the_rest_and_more() -> None:
    near, far = sides()
    near.writer.add([bytes(FULL_BODY)])
    far.receive(near.sealed()[:-1])
    assert len(far.reader.space()) >= 256 * 1024


def test_nothing_is_opened_after_the_close_record() -> None:
    near, far = sides()
    near.writer.add_record(CLOSE, msgpack.packb({"code": "done"}))
    near.writer.add_record(DATA, b"more")
    assert far.receive(near.sealed()) == []
    assert far.reader.ended
    assert far.reader.problem is None
    assert far.reader.peer_close == ("done", "")


@pytest.mark.parametrize("bad", [prefixed(bytes(40)), prefixed(b""), prefixed(bytes(MAX_RECORD))])
def test_what_came_before_a_bad_record_can_still_be_taken_and_nothing_behind_it(bad: bytes) -> None:
    near, far = sides()
    near.writer.add([b"good"])
    good = near.sealed()
    near.writer.add([b"never"])
    assert far.receive(good + bad + near.sealed()) == [b"good"]
    assert isinstance(far.reader.problem, RemoteProtocolError)
    assert not far.reader.ended


@pytest.mark.parametrize("kind", [WELCOME, 4, 255])
def test_a_record_of_another_kind_is_a_problem(kind: int) -> None:
    near, far = sides()
    near.writer.add_record(kind, b"")
    far.receive(near.sealed())
    assert str(far.reader.problem) == f"a record of kind {kind}"


def test_empty_data_records_are_nothing_until_they_are_a_flood() -> None:
    near, far = sides()
    for number in range(202):
        near.writer.add_record(DATA, b"")
        assert far.receive(near.sealed(), now=0.0) == []
        assert (far.reader.problem is None) == (number < 200)
    assert str(far.reader.problem) == "too many empty records"


def test_an_end_without_words_is_a_loss() -> None:
    _, far = sides()
    assert isinstance(far.reader.lost(), ConnectionLost)
    assert str(far.reader.problem) == "the connection ended without a farewell"


def test_a_reader_in_a_forked_process_says_so() -> None:
    _, far = sides()
    far.keys.forget()
    assert str(far.reader.lost()) == FORKED


# --- new keys -------------------------------------------------------------------------------------------


def test_keys_are_renewed_between_two_records_and_data_flows_on() -> None:
    client, server = sides(Thresholds(seconds=100.0))
    for now in (0.0, 100.0, 100.1, 100.2, 200.3, 200.4):
        for near, far in ((client, server), (server, client)):
            near.writer.add([b"to and fro"])
            assert far.receive(near.sealed(now), now) == [b"to and fro"]
    assert (client.keys.epoch, server.keys.epoch) == (2, 2)


def test_a_rekey_record_goes_first_also_when_nothing_waits() -> None:
    client, server = sides(Thresholds(seconds=100.0))
    assert client.sealed(99.0) == b""
    assert server.receive(client.sealed(100.0), 100.0) == []
    assert server.keys.has_record(100.0)
    server.writer.add([b"behind the answer"])
    assert len(lengths(answer := server.sealed(100.0))) == 2
    assert client.receive(answer, 100.0) == [b"behind the answer"]


def test_a_rekey_record_out_of_turn_is_a_problem() -> None:
    near, far = sides()
    near.writer.add_record(2, b"\3")
    far.receive(near.sealed())
    assert str(far.reader.problem) == "a rekey record out of turn"


# --- the welcome ----------------------------------------------------------------------------------------


def welcomed(said: object, kind: int = WELCOME) -> Side:
    """A client that was told this first, and data behind it."""
    client, server = sides()
    client.reader.expect_welcome(ALICE.public_key)
    assert client.reader.awaits_welcome
    server.writer.add_record(kind, msgpack.packb(said))
    server.writer.add_record(DATA, b"behind it")
    sealed = server.sealed()
    client.reader.space()[: len(sealed)] = sealed
    client.reader.filled(len(sealed), 0.0)
    return client


def test_after_the_welcome_records_are_as_all_others() -> None:
    client = welcomed({"code": "", "you": ALICE.public_key.raw})
    assert not client.reader.awaits_welcome
    assert client.reader.problem is None
    assert list(client.reader.take_all()) == [b"behind it"]


@pytest.mark.parametrize(
    ("said", "kind", "problem"),
    [
        ({"code": "", "you": bytes(32)}, WELCOME, HandshakeError),
        ({"code": ""}, WELCOME, HandshakeError),
        ([], WELCOME, HandshakeError),
        ({"code": "", "you": ALICE.public_key.raw}, DATA, HandshakeError),
        ({"code": "untrusted", "you": ALICE.public_key.raw}, WELCOME, UntrustedPeer),
        ({"code": "busy", "you": ALICE.public_key.raw}, WELCOME, SessionClosed),
    ],
)
def test_anything_in_its_place_is_a_problem_of_the_handshake(said: object, kind: int, problem: type[Exception]) -> None:
    client = welcomed(said, kind)
    assert type(client.reader.problem) is problem
    assert not client.reader.bodies


def test_a_connection_that_ends_before_it_fails_the_handshake() -> None:
    client, _ = sides()
    client.reader.expect_welcome(ALICE.public_key)
    assert type(client.reader.lost()) is HandshakeError
    assert "it closed the connection when it had our certificate" in str(client.reader.problem)
    assert isinstance(client.reader.problem, HandshakeError)
    assert client.reader.problem.code == "clock"


# --- counts, of one connection of several ---------------------------------------------------------------


def counting(thresholds: Thresholds | None = None) -> tuple[Side, Side]:
    near, far = sides(thresholds)
    near.reader.expect_counts()
    far.reader.expect_counts()
    return near, far


def test_a_count_where_none_is_expected_breaks_a_rule() -> None:
    near, far = sides()
    near.writer.acknowledge(10)
    far.receive(near.sealed())
    assert isinstance(far.reader.problem, RemoteProtocolError)
    assert not far.reader.is_forged


def test_a_count_goes_before_data_that_waits_and_the_newest_is_enough() -> None:
    near, far = counting()
    near.writer.add([bytes(100_000)])
    near.writer.acknowledge(10)
    near.writer.acknowledge(20)
    assert near.writer.has_more
    sealed = near.sealed()
    assert lengths(sealed)[0] == 1 + COUNT.size + 16
    assert sum(map(len, far.receive(sealed))) == 100_000
    assert far.reader.has_news
    assert far.reader.take_count() == 20
    assert far.reader.take_count() is None
    far.reader.forget_news()
    assert not far.reader.has_news


@pytest.mark.parametrize("bodies", [[b""], [bytes(7)], [bytes(9)], [COUNT.pack(5), COUNT.pack(4)]])
def test_counts_that_are_none_or_fall_break_a_rule(bodies: list[bytes]) -> None:
    near, far = counting()
    for body in bodies:
        near.writer.add_record(RECEIVED, body)
    far.receive(near.sealed())
    assert isinstance(far.reader.problem, RemoteProtocolError)


def test_counts_that_say_nothing_new_are_a_flood_as_empty_records_are() -> None:
    near, far = counting()
    for _ in range(201):
        near.writer.add_record(RECEIVED, COUNT.pack(5))
    far.receive(near.sealed())
    assert far.reader.problem is None, "the first one was news"
    near.writer.add_record(RECEIVED, COUNT.pack(5))
    far.receive(near.sealed())
    assert isinstance(far.reader.problem, RemoteProtocolError)


def test_behind_the_close_record_there_are_counts_and_nothing_else() -> None:
    near, far = counting(Thresholds(volume=1))
    near.writer.add([b"the last data"])
    near.writer.add_record(CLOSE, msgpack.packb({"code": "done"}))
    assert far.receive(near.sealed()) == [b"the last data"]
    assert far.reader.ended
    assert far.reader.peer_close == ("done", "")
    near.writer.acknowledge(7)
    sealed = near.sealed(1_000.0)  # when new keys would be due
    assert len(lengths(sealed)) == 1
    far.receive(sealed)
    assert far.reader.take_count() == 7
    assert far.reader.problem is None
    near.writer.add([b"more"])
    assert far.receive(near.sealed()) == []
    assert isinstance(far.reader.problem, RemoteProtocolError)


def test_a_record_that_does_not_open_says_nothing_of_the_peer() -> None:
    near, far = counting()
    near.writer.add([b"data"])
    sealed = bytearray(near.sealed())
    sealed[-1] ^= 1
    far.receive(bytes(sealed))
    assert isinstance(far.reader.problem, RemoteProtocolError)
    assert far.reader.is_forged
