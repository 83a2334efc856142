"""A process all of whose worker threads are busy."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread

from .patience import PATIENCE


@asynccontextmanager
async def no_thread_is_free() -> AsyncIterator[None]:
    """As many threads as the default limiter has wait for something that does not come."""
    limiter, never = anyio.to_thread.current_default_thread_limiter(), threading.Event()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(int(limiter.total_tokens)):
                tasks.start_soon(anyio.to_thread.run_sync, never.wait)
            while limiter.available_tokens:
                await anyio.sleep(0.001)
            try:
                yield
                assert not limiter.available_tokens
            finally:
                never.set()
