"""What the quick run leaves out: the other event loops, and what is said to be slow."""

import pytest

from tests.conftest import BACKENDS
from tests.quick import FOLDERS, TESTS, is_of_another_loop


def test_of_all_event_loops_one_is_left() -> None:
    kept = [str(one.id) for one in BACKENDS if not is_of_another_loop(one.values[0])]
    assert kept == ["asyncio"]


@pytest.mark.parametrize("param", ["asyncio", 3, ("asyncio", 3), ("trio", "uvloop"), None, ["trio"]])
def test_other_parameters_of_tests_are_none_of_its_business(param: object) -> None:
    assert not is_of_another_loop(param)


@pytest.mark.parametrize("param", ["trio", "uvloop", ("trio", {}), ("asyncio", {"use_uvloop": True})])
def test_a_parameter_that_says_the_event_loop_says_it_by_name_too(param: object) -> None:
    assert is_of_another_loop(param)


def test_the_folders_are_there() -> None:
    assert all((TESTS / folder).is_dir() for folder in FOLDERS)
