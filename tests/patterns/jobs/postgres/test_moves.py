"""Transactions of several verbs, and of several stores at once."""

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from chanlink.errors import StoreError
from chanlink.patterns.jobs.postgres import moves as module
from chanlink.patterns.jobs.postgres import statements
from chanlink.patterns.jobs.postgres.connection import Database
from chanlink.patterns.jobs.postgres.moves import Ask, Begin, Move, Moves, Step
from chanlink.patterns.jobs.postgres.rows import Rows
from chanlink.patterns.jobs.postgres.schema import prepare, schema_of
from chanlink.patterns.jobs.store import CANCELLED, Again, Begun, Done, End, Failed, NewJob
from tests.postgres import Server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def database(server: Server, queue: str, stack: ExitStack) -> Database:
    database = Database(server.conninfo, schema_of(queue), patience=60.0)
    stack.callback(database.close)
    database.use(lambda connection: prepare(connection, schema_of(queue)))
    return database


@pytest.fixture
def moves(postgres: Server, queue: str, stack: ExitStack) -> Moves:
    return Moves(database(postgres, queue, stack), str(uuid.uuid4()))


def add(id: str, payload: bytes = b"") -> Move:
    return Move(id, Rows.add, NewJob(id, payload, False))


def end(id: str, attempt: int, outcome: Done | Failed | Again) -> Move:
    return Move(id, Rows.end, End(id, attempt, outcome))


def test_each_step_has_its_answer_in_order(moves: Moves) -> None:
    count = Ask(statements.COUNTS, {}, lambda rows: rows[0][0])
    steps: list[Step] = [Begin(1), add("a", b"1"), count, add("b"), Begin(2), Move("a", Rows.cancel, "a")]
    one, new, waiting, other, two, cancelled = moves.do(steps)
    assert (new.new, other.new) == (True, True)
    assert cancelled.outcome == Failed(CANCELLED, "")
    assert (one, two) == ([Begun("b", b"", 1, False)], []), "what was cancelled in the same transaction does not begin"
    assert waiting == 0


def test_several_that_begin_share_what_there_is(moves: Moves) -> None:
    moves.do([add(id) for id in "abcde"])
    shares = moves.do([Begin(2), Begin(0), Begin(2), Begin(2)])
    assert [[job.id for job in share] for share in shares] == [["a", "b"], [], ["c", "d"], ["e"]]


def test_a_job_can_come_and_go_in_one_transaction(moves: Moves) -> None:
    new, cancelled, waiting, known = moves.do(
        [add("a"), Move("a", Rows.cancel, "a"), Move("a", Rows.retry, "a"), add("a")]
    )
    assert (new.state, cancelled.state, waiting.state) == ("waiting", "failed", "waiting")
    assert not known.new
    assert moves.do([Begin(1)]) == [[Begun("a", b"", 1, False)]]


def test_a_transaction_that_fails_has_done_nothing(moves: Moves) -> None:
    with pytest.raises(StoreError, match="the database could not do it"):
        moves.do([add("a"), Ask("SELECT 1 / 0", {}, len)])
    assert moves.do([Move("a", Rows.find, "a")]) == [None]
    assert moves.do([add("a")])[0].new


def test_what_has_begun_while_the_connection_broke_comes_back(moves: Moves, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store lives, so no lease brings it back."""
    moves.do([add("a"), add("b"), add("c")])
    assert moves.do([Begin(1)]) == [[Begun("a", b"", 1, False)]]
    use = moves._database.use

    def break_after_commit(work: Any) -> Any:
        use(work)
        raise StoreError("the connection broke, and the answer is lost")

    with monkeypatch.context() as patched:
        patched.setattr(moves._database, "use", break_after_commit)
        with pytest.raises(StoreError):
            moves.do([Begin(1)])
    assert [known.state for known in moves.do([Move(id, Rows.find, id, reads=True) for id in "abc"])] == [
        "running",
        "running",
        "waiting",
    ]
    assert moves.do([Begin(5)]) == [[Begun("c", b"", 1, False), Begun("b", b"", 2, False)]]
    assert moves.do([Begin(5)]) == [[]]
    assert moves._unheard, "the commit may still come"
    moves._unheard = dict.fromkeys(moves._unheard, 0.0)
    moves.do([Begin(5)])
    assert not moves._unheard


def test_large_jobs_and_results_go_in_several_statements(moves: Moves, monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[str] = []
    execute = Moves._execute

    def counted(self: Moves, connection: psycopg.Connection, query: str, **values: object) -> psycopg.Cursor:
        executed.append(query)
        return execute(self, connection, query, **values)

    monkeypatch.setattr(Moves, "_execute", counted)
    monkeypatch.setattr(module, "PIECE", 1000)
    payloads = {"a": bytes(400), "b": bytes(600), "c": bytes(3000), "d": bytes(1), "e": bytes(1)}
    moves.do([add(id, payload) for id, payload in payloads.items()])
    assert executed.count(statements.ADD) == 3
    [begun] = moves.do([Begin(10)])
    assert {job.id: job.payload for job in begun} == payloads
    assert moves.do([end(id, 1, Done(payload)) for id, payload in payloads.items()]) == [True] * 5
    assert executed.count(statements.END) == 3
    assert [known.outcome for known in moves.do([Move(id, Rows.find, id) for id in payloads])] == [
        Done(payload) for payload in payloads.values()
    ]


def test_an_id_that_another_one_adds_meanwhile_is_known(
    postgres: Server, queue: str, stack: ExitStack, moves: Moves
) -> None:
    other = stack.enter_context(psycopg.connect(postgres.conninfo))
    other.execute(f'SET search_path = "{schema_of(queue)}"')
    values = {"me": str(uuid.uuid4()), "ids": [b"b"], "payloads": [b"first"], "attached": [False]}
    other.execute(statements.ADD, values)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.extend(moves.do([add("c"), add("b"), add("a")])))
    thread.start()
    while not waits_for_a_lock(other):
        pass
    other.commit()
    thread.join()
    assert [known.new for known in answers] == [True, False, True]  # type: ignore[attr-defined]
    [[*begun]] = moves.do([Begin(3)])
    assert sorted((job.id, job.payload) for job in begun) == [("a", b""), ("b", b"first"), ("c", b"")]


def waits_for_a_lock(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row is not None and row[0] > 0


def test_stores_that_do_all_at_once_do_not_stop_each_other(postgres: Server, queue: str, stack: ExitStack) -> None:
    """Each with random verbs on the same few jobs. A deadlock would be tried again, but for this test."""
    ids = [f"{n:02}" for n in range(12)]
    errors: list[BaseException] = []

    def work(moves: Moves, seed: int) -> None:
        chance = random.Random(seed)
        kinds = [
            lambda id: add(id),
            lambda id: Move(id, Rows.cancel, id),
            lambda id: Move(id, Rows.retry, id),
            lambda id: end(id, 1, Done(b"")),
            lambda id: end(id, 1, Again(0.0)),
        ]
        try:
            for _ in range(60):
                steps: list[Step] = [chance.choice(kinds)(id) for id in chance.sample(ids, 6)]
                moves.do([*steps, Begin(chance.randrange(4))])
        except BaseException as exc:
            errors.append(exc)

    databases = [database(postgres, queue, stack) for _ in range(4)]
    for each in databases:
        each._crossed = (psycopg.errors.UniqueViolation,)
    everybody = [Moves(each, str(uuid.uuid4())) for each in databases]
    threads = [threading.Thread(target=work, args=(moves, seed)) for seed, moves in enumerate(everybody)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_what_one_store_has_locked_the_others_pass_over(
    postgres: Server, queue: str, stack: ExitStack, moves: Moves
) -> None:
    moves.do([add(id) for id in "abc"])
    other = stack.enter_context(psycopg.connect(postgres.conninfo))
    other.execute(f"SELECT FROM \"{schema_of(queue)}\".jobs WHERE id = 'a' FOR UPDATE")
    [begun] = moves.do([Begin(2)])
    assert [job.id for job in begun] == ["b", "c"]
    other.rollback()
    [begun] = moves.do([Begin(2)])
    assert [job.id for job in begun] == ["a"]
