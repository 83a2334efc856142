"""What the quick and the usual run leave out."""

import pytest

from tests.conformance import routes
from tests.conftest import BACKENDS
from tests.tiers import OTHER_LOOPS, ROUTES, SLOW_FOLDERS, TESTS, is_usual, other_loop


def test_of_all_event_loops_one_is_left() -> None:
    kept = [str(one.id) for one in BACKENDS if not other_loop(one.values[0])]
    assert kept == ["asyncio"]


@pytest.mark.parametrize("param", ["asyncio", 3, ("asyncio", 3), ("trio", "uvloop"), None, ["trio"]])
def test_other_parameters_of_tests_are_none_of_its_business(param: object) -> None:
    assert other_loop(param) is None


@pytest.mark.parametrize("param", ["trio", "uvloop", ("trio", {}), ("asyncio", {"use_uvloop": True})])
def test_a_parameter_that_says_the_event_loop_says_it_by_name_too(param: object) -> None:
    assert other_loop(param) in OTHER_LOOPS


def test_the_folders_are_there() -> None:
    assert all((TESTS / folder).is_dir() for folder in SLOW_FOLDERS)


def test_usual_is_every_route_and_every_event_loop() -> None:
    every = [*routes.LOCAL, *routes.DIRECT, *routes.RELAYED]
    over = {loop: {route.__name__ for route in every if is_usual(route, loop)} for loop in [(), ("trio",), ("uvloop",)]}
    assert over[()] == {route.__name__ for route in every}
    assert {loop: over[loop,] for loop in OTHER_LOOPS} == ROUTES
    assert all(ROUTES[loop] & {"tcp", "unix"} for loop in OTHER_LOOPS)


def test_what_waits_is_tried_over_every_route_and_on_every_event_loop() -> None:
    every = [*routes.LOCAL, *routes.DIRECT, *routes.RELAYED]
    assert all(is_usual(route, (), waits=True) for route in every)
    for loop in OTHER_LOOPS:
        assert [route for route in every if is_usual(route, (loop,), waits=True)] == [routes.tcp]
        assert is_usual(None, (loop,), waits=True)


def test_usual_is_all_that_has_no_route() -> None:
    assert all(is_usual(None, loops) for loops in [(), ("trio",), ("uvloop",)])


@pytest.mark.without_sockets
def test_usual_is_asyncio_and_trio_for_what_says_that_it_is_without_sockets(
    request: pytest.FixtureRequest, anyio_backend: tuple[str, dict[str, object]]
) -> None:
    assert request.config.getoption("--everything") or other_loop(anyio_backend) != "uvloop"
