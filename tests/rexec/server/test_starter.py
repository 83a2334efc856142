"""What has the guard start commands."""

import pytest

from examples.rexec.messages import CANNOT_START, StartError
from examples.rexec.policy.order import Order
from examples.rexec.server.starter import Starter
from tests.rexec.surroundings import crowded

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
TRUE = Order([b"/bin/true"], {})


async def test_commands_leave_descriptors_for_those_who_connect() -> None:
    async with Starter(1) as starter:
        with crowded(300, 260):
            async with await starter.start(TRUE) as process:
                assert await process.exited() == 0
                process.finish()
        with crowded(300, 275):
            for _ in range(50):
                with pytest.raises(StartError, match="Too many open files") as caught:
                    await starter.start(TRUE)
                assert caught.value.code == CANNOT_START
        async with await starter.start(TRUE) as process:
            assert await process.exited() == 0
            process.finish()
