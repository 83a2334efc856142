"""Who is let back to a session, who is lost when too many are away, and what those are told who come too late."""

from collections.abc import Callable

import pytest

from chanlink import ConnectionLost, Limits, PeerTimeout, RemoteProtocolError, SessionClosed, SessionError
from chanlink.security.keys.certificate import Role
from chanlink.security.resuming.agreement import Agreement
from chanlink.security.resuming.proofs import Prover, Resume
from chanlink.session import register as module
from chanlink.session.register import LONGER, Entry, Over, Register, Unanswered
from tests.session.endpoints import ALICE, BOB

H = b"\7" * 32
KEY = ALICE.public_key


class Stream:
    """As much of a stream as a register sees."""

    def __init__(self) -> None:
        self.is_away = False
        self.received = 500
        self.sent = 2_000
        self.lost: list[SessionError] = []

    def fits(self, count: int) -> bool:
        return 1_000 <= count <= self.sent

    def lose(self, problem: SessionError) -> None:
        self.lost.append(problem)


class Sessions:
    """A register, and what is in it."""

    def __init__(self, **limits: int) -> None:
        self.register = Register(Limits(**limits))
        self.streams: dict[Entry, Stream] = {}

    def add(self, key: object = KEY, number: int = 0) -> Entry:
        made = number or len(self.streams) + 1
        agreement = Agreement(made.to_bytes(16, "big"), b"i" * 16, bytes([made % 256]) * 32, 60.0, False)
        stream = Stream()
        entry = self.register.add(agreement, key, stream)  # type: ignore[arg-type]
        self.streams[entry] = stream
        return entry

    def go_away(self, entry: Entry) -> None:
        self.streams[entry].is_away = True
        self.register.changed(entry)

    def come_back(self, entry: Entry) -> None:
        self.streams[entry].is_away = False
        self.register.changed(entry)

    @property
    def lost(self) -> list[Entry]:
        return [entry for entry, stream in self.streams.items() if stream.lost]

    def admit(self, entry: Entry, attempt: int = 1, count: int = 1_000, now: float = 0.0) -> Entry:
        return self.register.admit(entry.agreement.session, KEY, resume(entry, attempt, count), H, now)


def resume(entry: Entry, attempt: int = 1, count: int = 1_000) -> Resume:
    return Prover(entry.agreement.secret, entry.agreement.session, H).resume(attempt, count)


# --- who is let back ------------------------------------------------------------------------------------


def test_who_proves_that_the_session_is_theirs_is_let_back_whether_it_is_away_or_not() -> None:
    sessions = Sessions()
    entry, other = sessions.add(), sessions.add()
    assert sessions.admit(entry) is entry
    sessions.go_away(other)
    assert sessions.admit(other) is other


WRONG: dict[str, Callable[[Resume], Resume]] = {
    "proof": lambda said: said._replace(proof=bytes(32)),
    "attempt": lambda said: said._replace(attempt=said.attempt + 1),
    "count": lambda said: said._replace(received=said.received + 1),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_proof_changes_nothing_and_gets_no_answer(change: Callable[[Resume], Resume]) -> None:
    sessions = Sessions()
    entry = sessions.add()
    with pytest.raises(Unanswered, match="does not prove") as caught:
        sessions.register.admit(entry.agreement.session, KEY, change(resume(entry)), H, 0.0)
    assert caught.value.fault
    with pytest.raises(Unanswered):
        sessions.register.admit(entry.agreement.session, KEY, resume(entry), b"\6" * 32, 0.0)
    assert (entry.attempt, sessions.lost) == (0, [])
    assert sessions.admit(entry) is entry


def test_the_servers_own_proof_is_not_the_clients() -> None:
    sessions = Sessions()
    entry = sessions.add()
    prover = Prover(entry.agreement.secret, entry.agreement.session, H)
    with pytest.raises(Unanswered):
        proof = prover.prove(Role.SERVER, 1, 1_000)
        sessions.register.admit(entry.agreement.session, KEY, Resume(1, 1_000, proof), H, 0.0)


def test_only_a_higher_attempt_is_taken() -> None:
    sessions = Sessions()
    entry = sessions.add()
    sessions.admit(entry, 5)
    for attempt in (5, 4, 1, 0):
        with pytest.raises(Unanswered, match="not new") as caught:
            sessions.admit(entry, attempt)
        assert caught.value.fault
    assert entry.attempt == 5
    sessions.admit(entry, 6)
    sessions.admit(entry, 2**64 - 1)


def test_a_session_that_is_not_known_is_gone() -> None:
    sessions, others = Sessions(), Sessions()
    with pytest.raises(SessionClosed) as caught:
        sessions.admit(others.add())
    assert caught.value.code == "gone"


def test_a_session_is_that_of_one_key_and_gone_for_another_one() -> None:
    sessions = Sessions()
    entry = sessions.add()
    with pytest.raises(SessionClosed) as caught:
        sessions.register.admit(entry.agreement.session, BOB.public_key, resume(entry), H, 0.0)
    assert caught.value.code == "gone"
    assert entry.attempt == 0


@pytest.mark.parametrize("count", [0, 999, 2_001])
def test_a_count_that_can_not_be_ends_the_session(count: int) -> None:
    sessions = Sessions()
    entry = sessions.add()
    with pytest.raises(Over) as caught:
        sessions.admit(entry, count=count)
    assert (caught.value.code, caught.value.received) == ("protocol-error", 500)
    (problem,) = sessions.streams[entry].lost
    assert isinstance(problem, RemoteProtocolError)
    with pytest.raises(Unanswered):
        sessions.admit(entry, 2)


def test_a_session_that_is_ending_lets_nobody_back_and_nobody_is_to_blame() -> None:
    sessions = Sessions()
    entry = sessions.add()
    entry.end()
    with pytest.raises(Unanswered) as caught:
        sessions.admit(entry)
    assert not caught.value.fault


# --- how often ------------------------------------------------------------------------------------------


def test_who_comes_back_too_often_has_to_wait() -> None:
    sessions = Sessions(resumes=10)
    entry = sessions.add()
    for attempt in range(1, 11):
        sessions.admit(entry, attempt)
    with pytest.raises(Unanswered, match="too often") as caught:
        sessions.admit(entry, 11)
    assert caught.value.fault
    assert entry.attempt == 10
    sessions.admit(entry, 11, now=0.5)
    other = sessions.add()
    sessions.admit(other)


def test_who_has_had_too_much_sent_again_has_to_wait() -> None:
    sessions = Sessions(sent_again=1_600)
    entry = sessions.add()
    sessions.admit(entry)
    entry.again.spend(1_650)
    with pytest.raises(Unanswered, match="sent again"):
        sessions.admit(entry, 2)
    with pytest.raises(Unanswered, match="sent again"):
        sessions.admit(entry, 2, now=0.4)
    sessions.admit(entry, 2, now=0.6)


# --- who is away ----------------------------------------------------------------------------------------


def test_when_too_many_of_a_key_are_away_the_longest_is_lost() -> None:
    sessions = Sessions(away_per_key=2)
    entries = [sessions.add() for _ in range(4)]
    for entry in entries[:3]:
        sessions.go_away(entry)
    assert sessions.lost == [entries[0]]
    (problem,) = sessions.streams[entries[0]].lost
    assert isinstance(problem, ConnectionLost)
    sessions.come_back(entries[1])
    sessions.go_away(entries[3])
    sessions.go_away(entries[1])
    assert sessions.lost == [entries[0], entries[2]]
    assert sessions.register.away == 2


def test_when_too_many_are_away_the_key_with_the_most_loses_its_longest() -> None:
    sessions = Sessions(away=4)
    first = sessions.add(BOB.public_key)
    sessions.go_away(first)
    mine = [sessions.add() for _ in range(3)]
    for entry in mine:
        sessions.go_away(entry)
    assert sessions.lost == []
    another = sessions.add(BOB.public_key)
    sessions.go_away(another)
    assert sessions.lost == [mine[0]]
    assert sessions.register.away == 4


def test_a_session_that_is_lost_or_ended_is_not_away_any_more() -> None:
    sessions = Sessions(away_per_key=1)
    first, second = sessions.add(), sessions.add()
    sessions.go_away(first)
    sessions.go_away(second)
    sessions.register.ended(first, ConnectionLost("lost"), 0.0)
    assert (sessions.register.away, len(sessions.register)) == (1, 1)
    sessions.register.ended(second, SessionClosed(), 0.0)
    sessions.go_away(second)  # what is said of it later is of no interest
    assert (sessions.register.away, len(sessions.register)) == (0, 0)


def test_a_state_that_is_told_twice_counts_once() -> None:
    sessions = Sessions(away_per_key=1)
    entry = sessions.add()
    for _ in range(3):
        sessions.go_away(entry)
    assert (sessions.lost, sessions.register.away) == ([], 1)
    for _ in range(3):
        sessions.come_back(entry)
    assert sessions.register.away == 0


# --- those that have ended --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "code"), [(None, ""), (SessionClosed(), ""), (SessionClosed("revoked"), "revoked")], ids=repr
)
def test_who_comes_back_to_a_session_that_has_ended_is_told_how_and_what_has_arrived(
    cause: SessionError | None, code: str
) -> None:
    sessions = Sessions()
    entry = sessions.add()
    sessions.admit(entry, 3)
    sessions.register.ended(entry, cause, 100.0)
    for attempt in (4, 5):
        with pytest.raises(Over) as caught:
            sessions.admit(entry, attempt, now=100.0 + 60 + LONGER)
        assert (caught.value.code, caught.value.received) == (code, 500)
    for attempt in (5, 4, 3):
        with pytest.raises(Unanswered, match="not new"):
            sessions.admit(entry, attempt, now=100.0)
    with pytest.raises(Unanswered, match="prove"):
        sessions.register.admit(entry.agreement.session, KEY, Resume(9, 0, bytes(32)), H, 100.0)
    with pytest.raises(SessionClosed) as gone:
        sessions.admit(entry, 6, now=100.0 + 60 + LONGER + 1)
    assert gone.value.code == "gone"


@pytest.mark.parametrize("cause", [ConnectionLost("away for too long"), ConnectionLost("a defect")], ids=repr)
def test_a_session_that_was_lost_is_gone(cause: SessionError) -> None:
    sessions = Sessions()
    entry = sessions.add()
    sessions.register.ended(entry, cause, 0.0)
    with pytest.raises(SessionClosed) as caught:
        sessions.admit(entry)
    assert caught.value.code == "gone"


def test_a_session_that_ends_twice_ends_as_it_did_first() -> None:
    sessions = Sessions()
    entry = sessions.add()
    sessions.register.ended(entry, PeerTimeout("silent"), 0.0)
    sessions.register.ended(entry, SessionClosed(), 0.0)
    with pytest.raises(Over) as caught:
        sessions.admit(entry)
    assert caught.value.code == "peer-timeout"


def test_those_that_have_ended_are_bounded_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    sessions = Sessions()
    entries = [sessions.add() for _ in range(12)]
    for entry in entries:
        sessions.register.ended(entry, None, 0.0)
    for entry in entries[:2]:
        with pytest.raises(SessionClosed):
            sessions.admit(entry)
    for entry in entries[2:]:
        with pytest.raises(Over):
            sessions.admit(entry)
