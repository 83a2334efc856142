"""Uploads: what is stored is what was sent, whatever the other side says; examples/upload/README.md stops one."""

import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.upload.store import STORE, Folder, Refused, Store
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio

WHOLE = bytes(range(256)) * 1_000
DIGEST = hashlib.sha256(WHOLE).hexdigest()


@asynccontextmanager
async def a_store(folder: Path) -> AsyncIterator[Store]:
    requests, receiver = chanlink.pipe()  # as good as a session and a service of it
    async with anyio.create_task_group() as tasks, requests:
        tasks.start_soon(STORE.serving(Folder(anyio.Path(folder))), receiver, chanlink.Peer(None, "somebody", ""))
        yield STORE.client(requests)


async def put(store: Store, data: bytes, name: str = "song", digest: str = DIGEST, begin: int = 0) -> int:
    """Put these bytes, and return how many the store says that it has."""
    stored = [begin]
    async with chanlink.wrap(io.BytesIO(data)) as body, aclosing(store.put(name, digest, begin, body)) as progress:
        stored += [count async for count in progress]
    return stored[-1]


async def until_left(store: Store) -> None:
    """Until the store is done with a caller who has left. (It refuses what begins at another place, too.)"""
    with anyio.fail_after(PATIENCE):
        while True:
            with pytest.raises(Refused) as refused:
                await put(store, b"", begin=len(WHOLE) + 1)
            if "somebody else" not in refused.value.text:
                return
            await anyio.sleep(0.001)


async def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    async with a_store(tmp_path) as store:
        assert await put(store, WHOLE) == len(WHOLE)
    assert [path.name for path in tmp_path.iterdir()] == ["song"]
    assert (tmp_path / "song").read_bytes() == WHOLE


async def test_a_file_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    async with a_store(tmp_path) as store:
        body, remote = chanlink.byte_pipe()
        async with body, aclosing(store.put("song", DIGEST, 0, remote)) as progress:
            await body.send(WHOLE[:100_000])
            stored = await anext(progress)  # and it is left there
        await until_left(store)
        have = await store.have(DIGEST)
        assert 0 < stored <= have <= 100_000
        assert [path.name for path in tmp_path.iterdir()] == [f"{DIGEST}.part"]
        assert await put(store, WHOLE[have:], begin=have) == len(WHOLE)
    assert (tmp_path / "song").read_bytes() == WHOLE


async def test_a_file_with_another_digest_is_not_kept(tmp_path: Path) -> None:
    async with a_store(tmp_path) as store:
        with pytest.raises(Refused, match="another SHA-256"):
            await put(store, WHOLE[:-1] + b"?")
    assert list(tmp_path.iterdir()) == []


async def test_a_piece_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    async with a_store(tmp_path) as store:
        with pytest.raises(Refused, match="0 bytes of it are here, not 10"):
            await put(store, WHOLE[10:], begin=10)


@pytest.mark.parametrize("name", ["", "../song", "/song", ".song", "a\nb", "a" * 101])
async def test_a_name_that_would_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    async with a_store(tmp_path) as store:
        with pytest.raises(Refused, match="no name for a file"):
            await put(store, WHOLE, name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("digest", ["", "../" + "0" * 61, DIGEST.upper(), DIGEST + "\n"])
async def test_a_digest_that_is_none_is_refused(tmp_path: Path, digest: str) -> None:
    async with a_store(tmp_path) as store:
        with pytest.raises(Refused, match="no SHA-256"):
            await store.have(digest)
        with pytest.raises(Refused, match="no SHA-256"):
            await put(store, WHOLE, digest=digest)


async def test_two_can_not_upload_one_file_at_the_same_time(tmp_path: Path) -> None:
    async with a_store(tmp_path) as store:
        body, remote = chanlink.byte_pipe()
        async with body, aclosing(store.put("song", DIGEST, 0, remote)) as progress:
            await body.send(WHOLE[:10])
            await anext(progress)
            with pytest.raises(Refused, match="somebody else"):
                await put(store, WHOLE)
