"""What a store has read of names, until they change."""

import pytest

from chanlink.directory import found as module
from chanlink.directory.found import Found


def read(found: "Found[int]", name: str, *values: int) -> None:
    found.has_read(name, found.reads(name), values)


def test_what_was_read_is_found_also_if_it_is_nothing() -> None:
    found: Found[int] = Found()
    assert found.get("a") is None
    read(found, "a", 1)
    read(found, "b")
    assert (found.get("a"), found.get("b")) == ((1,), ())


def test_a_change_is_the_end_of_what_was_read() -> None:
    found: Found[int] = Found()
    read(found, "a", 1)
    read(found, "b", 2)
    with found.changing("a"):
        assert found.get("a") is None
        read(found, "a", 1)  # or 3: who knows
        assert found.get("a") is None
    assert found.get("a") is None
    assert found.get("b") == (2,)
    read(found, "a", 3)
    assert found.get("a") == (3,)


@pytest.mark.parametrize("ends", ["before", "after"])
def test_a_read_beside_a_change_is_not_kept(ends: str) -> None:
    found: Found[int] = Found()
    reader = found.reads("a")
    with found.changing("a"):
        if ends == "before":
            found.has_read("a", reader, [1])
    found.has_read("a", reader, [1])
    assert found.get("a") is None


def test_two_changes_at_a_time_are_both_waited_for() -> None:
    found: Found[int] = Found()
    with found.changing("a"):
        with found.changing("a"):
            pass
        read(found, "a", 1)
        assert found.get("a") is None
    read(found, "a", 2)
    assert found.get("a") == (2,)
    assert not [*found._changing, *found._reading]


def test_of_two_reads_the_one_that_began_last_is_kept() -> None:
    found: Found[int] = Found()
    first, second = found.reads("a"), found.reads("a")
    found.has_read("a", first, [1])
    assert found.get("a") is None
    found.has_read("a", second, [1])
    assert found.get("a") == [1]


def test_a_read_that_has_failed_is_not_kept() -> None:
    found: Found[int] = Found()
    found.has_read("a", found.reads("a"), None)
    assert found.get("a") is None
    assert not found._reading


def test_so_many_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES", 2)
    found: Found[int] = Found()
    for name in "abc":
        read(found, name)
    assert [found.get(name) for name in "abc"] == [None, (), ()]
