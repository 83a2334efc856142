"""The body of a request: read to its end, or left before it."""

import gc
import warnings

import pytest

pytest.importorskip("httpx")

from chanlink.directory.etcd.body import Body

pytestmark = pytest.mark.anyio


async def test_it_is_read_once() -> None:
    body = Body(b"question")
    assert [part async for part in body] == [b"question"]
    assert [part async for part in body] == []


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_nobody_complains_of_one_that_is_left_before_its_end() -> None:
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        async for part in Body(b"question"):
            assert part
            break
        gc.collect()
    assert complaints == []
