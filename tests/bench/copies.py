"""``rexec cp`` of one large file and of many small ones, to a new place on the same disk, beside scp and tar.

Ours computes and compares a hash of everything, which the others don't.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from .harness import ROOT, Bench, Goal, Missing, Row
from .shared import Servers

LARGE = 512 * 1024 * 1024
SMALL = 5_000


def rows(bench: Bench) -> list[Row]:
    large, small = cache(lambda: _large(bench.directory)), cache(lambda: _small(bench.directory))
    servers = Servers(bench, "copies")
    to_server, scp = _rexec_cp(servers), _scp(servers)

    def copy(source: Callable[[], Path], command: Callable[[Path, Path], list[str]], count: float) -> float:
        target = bench.directory / "copy"
        shutil.rmtree(target, ignore_errors=True)
        words = command(source(), target)
        began = time.perf_counter()
        subprocess.run(words, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        if len(os.listdir(target)) != len(os.listdir(source())):
            raise RuntimeError("not all was copied")
        return count / seconds

    def through_tar(source: Path, target: Path) -> list[str]:
        target.mkdir()
        return ["sh", "-c", f"tar c -C {source} . | {' '.join(servers.openssh())} tar x -C {target}"]

    return [
        Row(
            f"copy-{name}",
            what,
            unit,
            lambda source=source, count=count: copy(source, to_server, count),  # type: ignore[misc]
            {
                "scp -Orp": lambda source=source, count=count: copy(source, scp, count),  # type: ignore[misc]
                "tar | ssh tar": lambda source=source, count=count: copy(source, through_tar, count),  # type: ignore[misc]
            },
            Goal("ratio", ">=", least),
            repeats=3,
        )
        for name, what, unit, source, count, least in (
            ("large", "a file of 512 MiB to a server, with hash", "MB/s", large, LARGE / 1e6, 0.6),
            ("small", f"{SMALL} files of 1 kB to a server, with hash", "files/s", small, SMALL, 1.0),
        )
    ]


def _large(folder: Path) -> Path:
    (source := folder / "large").mkdir()
    with (source / "file").open("wb") as file:
        for _ in range(LARGE // 2**20):
            file.write(os.urandom(2**20))
    return source


def _small(folder: Path) -> Path:
    (source := folder / "small").mkdir()
    for number in range(SMALL):
        (source / str(number)).write_bytes(os.urandom(1000))
    return source


def _rexec_cp(servers: Servers) -> Callable[[Path, Path], list[str]]:
    def command(source: Path, target: Path) -> list[str]:
        *program, run, identity, key, peer, server_key, address, _ = servers.rexec()
        assert run == "run"
        return [*program, "cp", "-r", identity, key, peer, server_key, str(source), f"{address}:{target}"]

    return command


def _scp(servers: Servers) -> Callable[[Path, Path], list[str]]:
    scp = shutil.which("scp")

    def command(source: Path, target: Path) -> list[str]:
        if scp is None:
            raise Missing("needs scp: apt-get install openssh-client")
        *options, host = servers.openssh()[1:]
        options = ["-P" if word == "-p" else word for word in options if word != "-T"]
        return [scp, "-O", "-q", "-rp", *options, str(source), f"{host}:{target}"]

    return command
