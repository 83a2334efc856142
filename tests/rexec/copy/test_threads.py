"""The worker threads of copies."""

import io
import threading

import anyio
import pytest

from examples.rexec.copy.messages import new_hash
from examples.rexec.copy.threads import HASHED, THREADS, Threads
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


async def test_a_hash_is_of_this_many_bytes_and_no_more() -> None:
    data = bytes(range(256)) * 10
    for size, count in ((0, 0), (7, 7), (len(data), len(data)), (10_000, len(data))):
        digest = new_hash()
        assert await Threads().hash(io.BytesIO(data), digest, size, lambda: None) == count
        assert digest.digest() == new_hash(data[:count]).digest()


async def test_between_two_goes_it_can_be_given_up() -> None:
    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Threads().hash(io.BytesIO(bytes(HASHED + 1)), new_hash(), HASHED + 1, give_up)


async def test_no_more_than_a_few_run_at_once_and_others_have_their_own() -> None:
    threads, free = Threads(), threading.Event()
    running: list[int] = []

    def work() -> None:
        running.append(1)
        free.wait(PATIENCE)

    async with anyio.create_task_group() as tasks:
        for _ in range(THREADS + 2):
            tasks.start_soon(threads.run, work)
        while len(running) < THREADS:
            await anyio.sleep(0.001)
        assert await Threads().run(len, "four") == 4
        assert len(running) == THREADS
        free.set()
    assert len(running) == THREADS + 2
