"""Strangers must not keep good clients out: who has to go when there are too many, and who is not let in at all."""

from collections.abc import Callable
from typing import Any

import pytest

from chanlink import Identity, Limits, Trust
from chanlink.security import admission
from chanlink.security.admission import Admission, Visitor, source_of

pytestmark = pytest.mark.anyio

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")
EVERYBODY = Trust.of(ALICE.public_key)


class Gone:
    """Remembers which of them were sent away."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def leave(self, name: str) -> Callable[[], None]:
        return lambda: self.names.append(name)


def admit(count: int, **limits: Any) -> tuple[Admission, Gone, list[Visitor]]:
    room, gone = Admission(Limits(**limits)), Gone()
    return room, gone, [room.enter("", gone.leave(str(number))) for number in range(count)]


# --- who has to go --------------------------------------------------------------------------------------


def test_of_too_many_the_one_silent_longest_goes_though_others_are_older() -> None:
    room, gone, visitors = admit(3, unauthenticated=3)
    room.spoke(visitors[0], 0.0)
    for name in ("3", "4"):
        room.enter("", gone.leave(name))
    assert gone.names == ["1", "2"]
    assert visitors[1].was_sent_away
    assert not visitors[0].was_sent_away
    assert len(room) == 3


def test_when_all_have_spoken_a_random_one_goes() -> None:
    first = set()
    for _ in range(200):
        room, gone, visitors = admit(4, unauthenticated=4)
        for visitor in visitors:
            room.spoke(visitor, 0.0)
        room.enter("", gone.leave("new"))
        assert len(gone.names) == 1
        first.add(gone.names[0])
    assert first == {"0", "1", "2", "3"}


def test_a_good_client_is_not_the_one_to_go_while_most_of_the_others_dribble() -> None:
    """They fill the room, and more of them come: a client that has just connected is silent for a round trip."""
    served = 0
    for _ in range(50):
        room, _, dribblers = admit(1_000)
        for visitor in dribblers:
            room.spoke(visitor, 0.0)
        good = room.enter("", lambda: None)
        for number in range(30):
            if number == 10:
                room.spoke(good, 0.0)
            room.spoke(room.enter("", lambda: None), 0.0)
        served += not good.was_sent_away
    assert served > 40  # 49 of 50 are to be expected


def test_who_left_by_itself_makes_room_and_who_was_sent_away_comes_not_back() -> None:
    room, gone, visitors = admit(2, unauthenticated=2)
    room.gone(visitors[0])
    room.enter("", gone.leave("2"))
    assert gone.names == []
    room.enter("", gone.leave("3"))
    assert gone.names == ["1"]
    room.spoke(visitors[1], 0.0)
    room.gone(visitors[1])
    assert len(room) == 2
    assert len(list(room)) == 2


def test_there_may_be_nobody_to_send_away() -> None:
    room, gone, _ = admit(0)
    assert not room.send_one_away()
    room.enter("", gone.leave("0"))
    assert room.send_one_away()
    assert gone.names == ["0"]
    assert not room.send_one_away()


# --- sources --------------------------------------------------------------------------------------------


def fail(room: Admission, source: str, now: float = 0.0, *, spoke: bool = True, sent_away: bool = False) -> bool:
    """Somebody comes from there, says something or not, and fails."""
    visitor = room.enter(source, lambda: None)
    if spoke:
        room.spoke(visitor, now)
    if sent_away:
        assert room.send_one_away()
    room.gone(visitor)
    return room.failed(visitor, now)


def has_turn(room: Admission, source: str, now: float) -> bool:
    return room.spoke(room.enter(source, lambda: None), now)


def test_a_source_that_fails_too_often_has_few_handshakes_a_second_and_others_have_all() -> None:
    room = Admission(Limits(source_failures=3, suspect_handshakes=2))
    assert [fail(room, "192.0.2.1", 10.0) for _ in range(5)] == [False, False, True, False, False]
    assert [has_turn(room, "192.0.2.1", 10.0) for _ in range(4)] == [False] * 4  # the last two failures had those
    assert [has_turn(room, "192.0.2.1", 10.9) for _ in range(4)] == [True] + [False] * 3
    assert all(has_turn(room, "192.0.2.2", 10.9) for _ in range(100))
    assert all(has_turn(room, "192.0.2.1", 11.0) for _ in range(100))  # a failure was forgiven
    assert fail(room, "192.0.2.1", 11.0)
    assert [has_turn(room, "192.0.2.1", 11.0) for _ in range(4)] == [True] + [False] * 3
    assert all(has_turn(room, "192.0.2.1", 100.0) for _ in range(100))


def test_all_sources_that_come_last_share_what_a_processor_can_bear() -> None:
    room = Admission(Limits(source_failures=1, suspect_handshakes=2))
    sources = [f"192.0.2.{number}" for number in range(100)]
    for source in sources:
        fail(room, source)
    assert sum(has_turn(room, source, 0.0) for source in sources * 2) == 2 * admission.ALL_SUSPECTS


def test_when_room_is_made_among_those_who_speak_the_sources_that_fail_go_first() -> None:
    room, gone = Admission(Limits(unauthenticated=4, source_failures=1)), Gone()
    fail(room, "192.0.2.1")
    for name in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"):
        room.spoke(room.enter(name, gone.leave(name)), 0.0)
    for number in range(2):
        room.enter("192.0.2.3", gone.leave("new"))
        assert gone.names == ["192.0.2.1"] * (number + 1)


@pytest.mark.parametrize("how", [{"spoke": False}, {"sent_away": True}, {"spoke": False, "sent_away": True}], ids=str)
def test_what_is_nobodys_fault_costs_nothing(how: dict[str, bool]) -> None:
    room = Admission(Limits(source_failures=1))
    for _ in range(5):
        assert not fail(room, "192.0.2.1", **how)
    assert all(has_turn(room, "192.0.2.1", 0.0) for _ in range(100))


def test_who_had_no_turn_is_not_charged_for_that() -> None:
    room = Admission(Limits(source_failures=1, suspect_handshakes=1))
    for _ in range(50):
        fail(room, "192.0.2.1")
    assert room._suspects["192.0.2.1"].failures.left(1.0) == 1


def test_sources_are_addresses_and_networks_of_64_bits() -> None:
    assert source_of(("192.0.2.1", 5)) == source_of(("192.0.2.1", 6)) == "192.0.2.1"
    assert source_of(("2001:db8::1", 5, 0, 0)) == source_of(("2001:db8::ffff:1:2:3", 6, 0, 0))
    assert source_of(("2001:db8:0:1::1", 5, 0, 0)) != source_of(("2001:db8::1", 5, 0, 0))
    assert source_of(("fe80::1%eth0", 5, 0, 2)) == "fe80::/64"
    assert source_of("") == source_of(b"") == ""


@pytest.mark.parametrize("address", [("127.0.0.1", 5), ("::1", 5, 0, 0), "", b""], ids=str)
def test_this_machine_is_not_charged(address: object) -> None:
    room, source = Admission(Limits(source_failures=1)), source_of(address)
    for _ in range(5):
        assert not fail(room, source)
    assert has_turn(room, source, 0.0)
    assert not room._suspects


def test_what_is_remembered_of_sources_is_bounded_and_who_failed_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_SOURCES", 10)
    room = Admission(Limits(source_failures=1))
    for number in range(1_000):
        fail(room, "the same")
        fail(room, str(number))
    assert len(room._suspects) == 10
    assert {"the same", "999"} <= set(room._suspects)
