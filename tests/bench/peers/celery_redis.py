"""Celery with Redis, which brings the jobs and keeps the results. The slots of its workers are processes, as usual."""

import importlib
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from celery.result import ResultSet

from tests.bench.meter import Meter
from tests.bench.queues.processes import SLOTS, WORKERS, running, wait_for
from tests.bench.queues.redis import redis

APP = "tests.bench.queues.celery_app"


async def jobs(where: dict[str, Any], meter: Meter, *, count: int, kept: bool) -> None:
    """All are brought, and then all results waited for."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="chanlink-bench-")))
        os.environ["BENCH_QUEUE_URL"] = stack.enter_context(redis(folder, kept=kept))
        sys.modules.pop(APP, None)  # it asks where Redis is once, and that is another one each time
        celery = importlib.import_module(APP)
        for number in range(WORKERS):
            words = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "celery",
                "--app",
                APP,
                "worker",
                "--concurrency",
                str(SLOTS),
            ]
            words += ["--hostname", f"worker-{number}", "--loglevel", "ERROR"]
            stack.enter_context(running(words))
        wait_for("celery", lambda: len(celery.app.control.ping(timeout=0.5)) == WORKERS)
        _all(celery, 2 * WORKERS * SLOTS)
        with meter.over(count):
            _all(celery, count)


def _all(celery: Any, count: int) -> None:
    tickets = [celery.nothing.delay(number) for number in range(count)]
    assert sorted(ResultSet(tickets, app=celery.app).join_native()) == list(range(count))


WORKS = {"jobs": jobs}
