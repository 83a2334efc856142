"""What `check_channel` tries of waiting, capacity and cancellation: each promise is one that a fault can break."""

import pytest

from chanlink.testing.flow import PROMISES

from .faults import Fault, each_fault_of, find

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


@each_fault_of(PROMISES)
async def test_a_channel_that_breaks_a_promise_is_found_out(promise: str, fault: Fault) -> None:
    await find(promise, fault)
