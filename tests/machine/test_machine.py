"""A short run of the machine; `make machine` is a long one."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import BACKENDS

from .driver import Plan, plans, run


@pytest.mark.without_sockets
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_promise_is_kept_whatever_two_peers_and_a_relay_do(backend: tuple[str, dict[str, Any]]) -> None:
    name, options = backend

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(plans)
    def machine(plan: Plan) -> None:
        run(plan, name, **options)

    machine()
