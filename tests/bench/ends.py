"""The two ends of a measurement, each a process of its own: ``python -m tests.bench.ends ROLE PEER BACKEND FOLDER``.

Every peer is a module of `peers`, with a server and with works for its client:

    serve(folder)       an async context manager: serves, and gives what a client needs to know, as a map for JSON;
                        `host` and `port` are what a link that slows things down is put in front of. None: no server
    WORKS               by name: ``async def work(where, meter, **options)``, which has `Meter.over` around what counts

A server process prints that map and leaves when its stdin ends. A client process takes orders on its stdin, one line
of JSON each, runs them on a fresh event loop, and answers each with a line.
"""

import cProfile
import gc
import importlib
import importlib.util
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from .meter import Meter, Missing

ROOT = Path(__file__).resolve().parents[2]
BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
PROFILE = "CHANLINK_BENCH_PROFILE"
"""The environment variable that has a server write a profile: where to."""
PATIENCE = 900.0
"""Seconds after which an end that does not answer is given up."""


class Outcome(NamedTuple):
    """What one run took."""

    count: float
    wall: float
    cpu: float | None
    more: dict[str, Any]


# --- in the processes ---------------------------------------------------------------------------


def main() -> None:
    role, peer, backend, folder = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us hears it, and stops us
    _allow_many_files()
    if role == "client":
        _obey(load(peer), backend)
        return
    try:
        _profiled(os.environ.get(PROFILE), run, backend, _serve, load(peer), Path(folder))
    except Missing as exc:
        _say({"missing": str(exc)})


def load(peer: str) -> ModuleType:
    try:
        return importlib.import_module(f"tests.bench.peers.{peer}")
    except ImportError as exc:
        raise Missing(f"needs {exc.name}: pip install --group bench") from exc


def run(backend: str, function: Callable[..., Any], *args: Any) -> Any:
    """`anyio.run` on a backend."""
    name, options = BACKENDS[backend]
    module = "uvloop" if options else name
    if importlib.util.find_spec(module) is None:
        raise Missing(f"needs {module}: pip install {module}")
    return anyio.run(function, *args, backend=name, backend_options=options)


async def _serve(module: ModuleType, folder: Path) -> None:
    async with module.serve(folder) as where:
        _say({"pid": os.getpid(), **where})
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


def _obey(module: ModuleType, backend: str) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        try:
            outcome = _work(module, backend, order)
        except Missing as exc:
            _say({"missing": str(exc)})
        except Exception as exc:  # what else is measured shall still be seen
            _say({"failed": _first_line(exc)})
        else:
            _say(outcome._asdict())


def _work(module: ModuleType, backend: str, order: dict[str, Any]) -> Outcome:
    gc.collect()  # what the works before this one have left is not this one's
    meter = Meter(order["where"].get("pid"), order.get("profile"))
    work = partial(module.WORKS[order["work"]], order["where"], meter, **order["options"])
    _profiled(meter.profile, run, backend, work)
    return Outcome(meter.count, meter.wall, meter.cpu, meter.more)


def _profiled(path: str | None, function: Callable[..., Any], *args: Any) -> None:
    """Call something; with a profile, if there is a path for one and no program of the peer has written one there."""
    if path is None:
        function(*args)
        return
    profiler = cProfile.Profile()
    profiler.runcall(function, *args)
    if not Path(path).exists():
        profiler.dump_stats(path)


def _first_line(exc: Exception) -> str:
    while isinstance(exc, ExceptionGroup):
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {(str(exc).strip().splitlines() or [''])[-1].strip()}"[:200]


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- in the process that compares ---------------------------------------------------------------


class End:
    """A process of this module, as the process that started it sees it."""

    def __init__(self, role: str, peer: str, backend: str, folder: Path, *, profile: Path | None = None) -> None:
        self._role = role
        command = [sys.executable, "-m", "tests.bench.ends", role, peer, backend, str(folder)]
        environment = dict(os.environ) if profile is None else {**os.environ, PROFILE: str(profile)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a program that is installed is compiled, too
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def answer(self) -> dict[str, Any]:
        """The next line that it says. Raises `Missing`, or `RuntimeError` for what has failed there."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"no answer within {PATIENCE:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with status {self.process.wait()}")
        said: dict[str, Any] = json.loads(line)
        if "missing" in said:
            raise Missing(said["missing"])
        if "failed" in said:
            raise RuntimeError(said["failed"])
        return said

    def order(self, order: dict[str, Any]) -> Outcome:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        return Outcome(**self.answer())

    def stop(self) -> None:
        """A server leaves when its stdin ends, and can write a profile then; a client may be in the midst of a work."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        if self._role == "client":
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Pair:
    """A peer's server, and a client that works with it."""

    def __init__(self, peer: str, backend: str, folder: Path, *, profile_server: Path | None = None) -> None:
        self._stack = ExitStack()
        self._ends: list[End] = []
        self.where: dict[str, Any] = {}
        try:
            if hasattr(load(peer), "serve"):
                server = End("server", peer, backend, folder, profile=profile_server)
                self._stack.callback(server.stop)
                self.where = server.answer()
                self._ends.append(server)
            self._client = End("client", peer, backend, folder)
            self._ends.append(self._client)
            self._stack.callback(self._client.stop)
        except BaseException:
            self._stack.close()
            raise

    def work(
        self, work: str, options: dict[str, Any], *, where: dict[str, Any] | None = None, profile: Path | None = None
    ) -> Outcome:
        """Run a work once. ``where`` says otherwise where the server is."""
        order = {"work": work, "options": options, "where": {**self.where, **(where or {})}}
        return self._client.order(order if profile is None else {**order, "profile": str(profile)})

    @property
    def works(self) -> bool:
        """Whether both processes are there."""
        return all(end.process.poll() is None for end in self._ends)

    def close(self) -> None:
        self._stack.close()


if __name__ == "__main__":
    main()
