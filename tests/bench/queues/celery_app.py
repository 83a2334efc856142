"""The program of Celery's workers, and of whoever brings jobs. It acknowledges what is done: at least once, as ours."""

import os

from celery import Celery

URL = "BENCH_QUEUE_URL"
"""The environment variable that says where Redis is."""

app = Celery("tests.bench.queues.celery_app", broker=os.environ[URL], backend=os.environ[URL])
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)


@app.task
def nothing(number: int) -> int:
    return number
