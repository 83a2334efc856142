"""What the quick and the usual run leave out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import routes
from tests.conftest import BACKENDS
from tests.tiers import (
    ALIKE,
    OTHER_LOOPS,
    RARE,
    ROUTES,
    SLOW_FOLDERS,
    TESTS,
    Turns,
    fewer_examples,
    is_usual,
    other_loop,
    part,
)


def test_of_all_event_loops_one_is_left() -> None:
    kept = [str(one.id) for one in BACKENDS if not other_loop(one.values[0])]
    assert kept == ["asyncio"]


@pytest.mark.parametrize("param", ["asyncio", 3, ("asyncio", 3), ("trio", "uvloop"), None, ["trio"]])
def test_other_parameters_of_tests_are_none_of_its_business(param: object) -> None:
    assert other_loop(param) is None


@pytest.mark.parametrize("param", ["trio", "uvloop", ("trio", {}), ("asyncio", {"use_uvloop": True})])
def test_a_parameter_that_says_the_event_loop_says_it_by_name_too(param: object) -> None:
    assert other_loop(param) in OTHER_LOOPS


def test_in_the_names_of_tests_the_event_loops_are_known() -> None:
    assert [str(one.id) for one in BACKENDS] == ["asyncio", *OTHER_LOOPS]
    assert [other_loop(one.values[0]) for one in BACKENDS] == [None, *OTHER_LOOPS]


def test_the_first_case_is_tried_everywhere() -> None:
    turns = Turns()
    places = [((), route) for pair in ALIKE for route in pair] + [((loop,), "") for loop in OTHER_LOOPS]
    assert all(turns.has("a test", "first", *place) for place in places)
    assert all(turns.has("another test", "second", *place) for place in places)


def test_other_cases_are_tried_on_asyncio_and_another_event_loop_and_over_one_of_the_routes_that_are_alike() -> None:
    turns = Turns()
    assert turns.has("a test", 0, ())
    had = set()
    for case in range(1, 5):
        loops = [loop for loop in OTHER_LOOPS if turns.has("a test", case, [loop])]
        routes = [route for pair in ALIKE for route in pair if turns.has("a test", case, (), route)]
        assert (len(loops), len(routes)) == (1, len(ALIKE))
        assert all(turns.has("a test", case, (), route) for route in ("", "memory", "resumed"))
        had |= {*loops, *routes}
    assert had == {*OTHER_LOOPS, *(route for pair in ALIKE for route in pair)}


def test_each_case_is_over_both_families_of_sockets() -> None:
    turns = Turns()
    for case in range(3):
        places = [((), "tcp"), ((), "unix"), (("uvloop",), "tcp"), (("trio",), "unix")]
        assert {route for loops, route in places if turns.has("a test", case, loops, route)} == {"tcp", "unix"}


def test_of_examples_that_are_made_up_the_usual_run_has_a_third() -> None:
    seen = []

    @settings(max_examples=31, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers())
    def test(number: int) -> None:
        seen.append(number)

    test()
    assert len(seen) == 31
    seen.clear()
    fewer_examples([test, print])
    test()
    assert len(seen) == 11


@pytest.mark.parametrize("length", [0, 2, 7, 30])
def test_parts_are_the_whole(length: int) -> None:
    parts = [part([*range(length)], n, 3) for n in range(3)]
    assert [one for some in parts for one in some] == [*range(length)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_folders_are_there() -> None:
    assert all((TESTS / folder).is_dir() for folder in SLOW_FOLDERS)


EVERY = [*routes.LOCAL, *routes.DIRECT, *routes.HANDED, *routes.RELAYED]


def test_usual_is_every_route_and_every_event_loop() -> None:
    every = [route for route in EVERY if route.__name__ not in RARE]
    over = {loop: {route.__name__ for route in every if is_usual(route, loop)} for loop in [(), ("trio",), ("uvloop",)]}
    assert over[()] == {route.__name__ for route in every}
    assert {loop: over[loop,] for loop in OTHER_LOOPS} == ROUTES
    assert all(ROUTES[loop] & {"tcp", "unix"} for loop in OTHER_LOOPS)


def test_what_waits_is_tried_over_every_route_and_on_every_event_loop() -> None:
    every = [route for route in EVERY if route.__name__ not in RARE]
    assert all(is_usual(route, (), waits=True) for route in every)
    for loop in OTHER_LOOPS:
        assert [route for route in EVERY if is_usual(route, (loop,), waits=True)] == [routes.tcp]
        assert is_usual(None, (loop,), waits=True)


def test_rare_routes_have_the_core_on_one_event_loop() -> None:
    rare = [route for route in EVERY if route.__name__ in RARE]
    assert len(rare) == len(RARE)
    for route in rare:
        assert is_usual(route, (), core=True)
        assert not is_usual(route, ("trio",), core=True)
        assert not is_usual(route, ())


def test_usual_is_all_that_has_no_route() -> None:
    assert all(is_usual(None, loops) for loops in [(), ("trio",), ("uvloop",)])


@pytest.mark.without_sockets
def test_usual_is_asyncio_and_trio_for_what_says_that_it_is_without_sockets(
    request: pytest.FixtureRequest, anyio_backend: tuple[str, dict[str, object]]
) -> None:
    assert request.config.getoption("--everything") or other_loop(anyio_backend) != "uvloop"
