"""What a client keeps of prekeys: bounded, shared by processes, and of no harm when it is damaged."""

import base64
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chanlink.security.early.known_prekeys import MOST_KNOWN, KnownPrekeys

from .keys import a_prekey

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

SERVER_A, SERVER_B = "tcp://a.example:9323", "unix:/run/with a blank/b"


@pytest.fixture(params=["memory", "file"])
def known(request: pytest.FixtureRequest, tmp_path: Path) -> KnownPrekeys:
    return KnownPrekeys(tmp_path / "made" / "known" if request.param == "file" else None)


async def test_each_server_has_the_prekey_that_came_last(known: KnownPrekeys) -> None:
    prekeys = [(await a_prekey())[0] for _ in range(3)]
    assert known._find(SERVER_A, time.time()) is None
    known._put(SERVER_A, prekeys[0].packed)
    known._put(SERVER_B, prekeys[1].packed)
    known._put(SERVER_A, prekeys[2].packed)
    assert known._find(SERVER_A, time.time()) == prekeys[2]
    assert known._find(SERVER_B, time.time()) == prekeys[1]


async def test_one_that_has_ended_is_not_found(known: KnownPrekeys) -> None:
    prekey, _ = await a_prekey()
    known._put(SERVER_A, prekey.packed)
    assert known._find(SERVER_A, prekey.ends_at) == prekey
    assert known._find(SERVER_A, prekey.ends_at + 1) is None


async def test_only_the_one_that_was_of_no_use_is_dropped(known: KnownPrekeys) -> None:
    old, new = (await a_prekey())[0], (await a_prekey())[0]
    known._put(SERVER_A, new.packed)
    known._drop(SERVER_A, old)
    assert known._find(SERVER_A, time.time()) == new
    known._drop(SERVER_A, new)
    known._drop(SERVER_B, new)
    assert known._find(SERVER_A, time.time()) is None


async def test_no_more_than_so_many_servers_are_kept(known: KnownPrekeys) -> None:
    prekey, _ = await a_prekey()
    for number in range(MOST_KNOWN + 2):
        known._put(f"tcp://host-{number}:1", prekey.packed)
    assert known._find("tcp://host-1:1", time.time()) is None
    assert known._find("tcp://host-2:1", time.time()) == prekey


async def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    prekey, _ = await a_prekey()
    path, packed = tmp_path / "known", base64.b64encode(prekey.packed).decode()
    program = (
        "import base64, sys; from chanlink.security.early.known_prekeys import KnownPrekeys\n"
        "known = KnownPrekeys(sys.argv[1])\n"
        "for n in range(20): known._put(f'tcp://{sys.argv[3]}-{n}:1', base64.b64decode(sys.argv[2]))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), packed, name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    known = KnownPrekeys(path)
    assert all(known._find(f"tcp://{name}-{n}:1", time.time()) == prekey for name in ("one", "two") for n in range(20))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_damaged_file_is_a_cache_with_less_in_it(tmp_path: Path) -> None:
    prekey, _ = await a_prekey()
    path, good = tmp_path / "known", base64.b64encode(prekey.packed)
    path.write_bytes(
        b"\xff\xfe\n\nno base64! tcp://x:1\nAAAA tcp://short:1\n" + good[:40] + b"\n" + good + b" tcp://good:1\n"
    )
    path.chmod(0o600)
    known = KnownPrekeys(path)
    assert known._find("tcp://x:1", time.time()) is None
    assert known._find("tcp://short:1", time.time()) is None
    assert known._find("tcp://good:1", time.time()) == prekey


async def test_a_file_that_can_not_be_used_is_logged_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prekey, _ = await a_prekey()
    path = tmp_path / "pipe"
    os.mkfifo(path)
    known = KnownPrekeys(path)
    with caplog.at_level(logging.WARNING, "chanlink"):
        assert known._find(SERVER_A, time.time()) is None
        known._put(SERVER_A, prekey.packed)
    assert len([record for record in caplog.records if str(path) in record.getMessage()]) == 2


async def test_a_name_that_would_be_two_lines_is_not_kept(known: KnownPrekeys) -> None:
    prekey, _ = await a_prekey()
    known._put("unix:/a\nb", prekey.packed)
    assert known._find("unix:/a\nb", time.time()) is None
