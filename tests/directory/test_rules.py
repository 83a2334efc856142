"""Whose a name is."""

import pytest

from chanlink.directory.problems import DirectoryFull, NameTaken, NotAllowed, OlderSerial
from chanlink.directory.rules import OWNERS, check_claim, check_removal, check_room, others
from chanlink.directory.store import Owner

from .made import KEY, OTHER, new


def test_a_name_that_nobody_owns_is_free() -> None:
    check_claim([], new())


def test_a_name_stays_with_its_key() -> None:
    check_claim([Owner(KEY, False, 1)], new(serial=2))
    with pytest.raises(NameTaken):
        check_claim([Owner(OTHER, False, 1)], new(serial=2))


@pytest.mark.parametrize(("theirs", "ours"), [(False, True), (True, False), (False, False)])
def test_keys_share_a_name_only_if_it_stands_on_the_line_of_each(theirs: bool, ours: bool) -> None:
    check_claim([Owner(OTHER, True, 1)], new(listed=True))
    with pytest.raises(NameTaken):
        check_claim([Owner(OTHER, theirs, 1)], new(listed=ours))


def test_one_of_several_who_is_not_listed_any_more_is_out() -> None:
    with pytest.raises(NameTaken):
        check_claim([Owner(OTHER, True, 1), Owner(KEY, True, 1)], new(serial=2))


def test_a_serial_never_falls() -> None:
    check_claim([Owner(KEY, False, 5)], new(serial=5))  # the same again: its answer was lost
    with pytest.raises(OlderSerial) as caught:
        check_claim([Owner(KEY, False, 5)], new(serial=4))
    assert caught.value.detail == 5


def test_a_key_that_an_owner_has_named_comes_in_its_place() -> None:
    third = b"3" * 32
    check_claim([Owner(OTHER, False, 9)], new(serial=1, old=OTHER))
    assert others([Owner(OTHER, False, 9)], new(old=OTHER)) == []
    with pytest.raises(NameTaken):
        check_claim([Owner(OTHER, False, 9)], new(old=third))
    with pytest.raises(NameTaken):  # the others that share it are asked as ever
        check_claim([Owner(OTHER, True, 1), Owner(third, True, 1)], new(old=OTHER))
    check_claim([Owner(OTHER, True, 1), Owner(third, True, 1)], new(old=OTHER, listed=True))
    assert others([Owner(KEY, True, 1), Owner(OTHER, True, 1)], new(old=OTHER)) == []
    many = [Owner(bytes([number]) * 32, True, 1) for number in range(OWNERS)]
    check_claim(many, new(listed=True, old=bytes([5]) * 32))


def test_not_everybody_can_share_a_name() -> None:
    many = [Owner(bytes([number]) * 32, True, 1) for number in range(OWNERS)]
    with pytest.raises(DirectoryFull):
        check_claim(many, new(listed=True))


def test_a_name_is_removed_by_an_owner_or_by_who_is_listed() -> None:
    check_removal([Owner(KEY, False, 1)], "web1", KEY, False)
    check_removal([Owner(KEY, False, 1)], "web1", OTHER, True)
    with pytest.raises(NotAllowed):
        check_removal([Owner(KEY, False, 1)], "web1", OTHER, False)


def test_there_is_room_for_so_many_names() -> None:
    check_room(1, 2, 9, 10)
    for counts in ((2, 2, 9, 10), (1, 2, 10, 10)):
        with pytest.raises(DirectoryFull):
            check_room(*counts)
