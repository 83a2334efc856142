"""``chanlink queue``: a queue of jobs as a process, and what becomes of the jobs in one."""

import argparse
from typing import Any

from chanlink.command.options import (
    add_action,
    add_command,
    add_identity,
    add_inspection,
    add_psk,
    add_queue,
    add_queue_server,
    add_trust,
    from_one,
    job_id,
    not_negative,
    positive,
)
from chanlink.command.output import add_json, note
from chanlink.command.problems import Usage
from chanlink.command.sessions import in_event_loop

from . import json_jobs

FAILED = 1
"""Some job has, or is not known."""
NOTES = """\
Programs bring jobs, others work on them, and each job comes to one outcome. serve is such a queue, without a line of
Python; it keeps jobs as the bytes that they are, and looks into none. The other actions are for any queue that is a
service, also of a program of yours (chanlink.patterns.work_queue).

examples:
  chanlink queue serve tcp://0.0.0.0:9323 --store jobs.db
  chanlink queue status tcp://build:9323
  chanlink queue dead tcp://build:9323
  chanlink queue retry tcp://build:9323 page-17
"""
SERVE_NOTES = """\
FILE is made when it is missing, and belongs to one process. A database may have any number of these processes, which
share its jobs; the jobs of one that is dead come back. A password belongs into ~/.pgpass: all can read command lines.

The service jobs takes everything. For lines of the trust file there are jobs.submit (bring, find and cancel),
jobs.work, and jobs.look (status, and what has failed): services="jobs.work".

It stops at Ctrl-C, SIGTERM and SIGHUP: no job begins then, and those that run may end.

examples:
  chanlink queue serve tcp://0.0.0.0:9323 --store jobs.db --silence 300
  chanlink queue serve tcp://0.0.0.0:9323 --store postgresql://db/app --queue thumbnails
"""
STATUS_NOTES = """\
delayed are those that wait for another attempt, failed also those that were cancelled. Ended jobs are counted until the
queue forgets them. With --watch on a terminal it goes on until q or Ctrl-C, elsewhere it is a line each time.

examples:
  chanlink queue status tcp://build:9323
  chanlink queue status --watch tcp://build:9323
  chanlink queue status --json tcp://build:9323 | jq '.waiting + .delayed + .running'
"""
DEAD_NOTES = """\
For each the id, the attempts that it has had, the code, and what was said about it; tabs are between them. Those that
were cancelled are not listed.

examples:
  chanlink queue dead tcp://build:9323
  chanlink queue dead --json tcp://build:9323 | jq -r 'select(.code == "no-such-page").id'
"""
RETRY_NOTES = """\
A failed job waits again, its attempts counted anew. With any other job nothing happens. What each is then is printed.

examples:
  chanlink queue retry tcp://build:9323 page-17 page-18
  chanlink queue retry --all tcp://build:9323
"""
CANCEL_NOTES = """\
A job that waits never begins, and the worker of one that runs is told. A job that has an outcome keeps it. What each is
then is printed.

examples:
  chanlink queue cancel tcp://build:9323 page-17 page-18
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "queue", "Serve a queue of jobs, look into one, and repair it.", NOTES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_serve(actions)
    json_jobs.add(actions)
    _add_status(actions)
    _add_dead(actions)
    _add_retry(actions)
    _add_cancel(actions)


def _add_serve(actions: Any) -> None:
    parser = add_action(actions, "queue", "serve", "Be a queue, and listen.", SERVE_NOTES)
    parser.add_argument("listen", metavar="ADDRESS", help="where to listen: tcp://HOST:PORT or unix:/PATH")
    parser.add_argument(
        "--store", metavar="FILE", help="what keeps the jobs: a file, or postgresql://... (default: memory does)"
    )
    parser.add_argument("--queue", metavar="NAME", help="which queue of the database (default: default)")
    parser.add_argument(
        "--fsync",
        action=argparse.BooleanOptionalAction,
        help="of a file: whether each step is on the disk before it counts. Without, a power cut may lose the last "
        "ones, a killed process none (default: --fsync)",
    )
    add_queue(parser)
    parser.add_argument(
        "--silence",
        metavar="SECONDS",
        type=positive,
        default=60.0,
        help="a job is given again when its worker has said nothing for so long (default: %(default)g)",
    )
    parser.add_argument(
        "--attempts", metavar="N", type=from_one, default=5, help="of a job, before it has failed (default: 5)"
    )
    parser.add_argument(
        "--most", metavar="N", type=from_one, default=1_000_000, help="of jobs that wait (default: 1000000)"
    )
    parser.add_argument(
        "--drain",
        metavar="SECONDS",
        type=not_negative,
        default=30.0,
        help="for jobs that run, when it is stopped (default: %(default)g)",
    )
    add_identity(parser)
    add_trust(parser)
    add_psk(parser)
    add_inspection(parser)
    parser.set_defaults(action=in_event_loop(_serve), announces=True)


def _add_status(actions: Any) -> None:
    parser = add_action(
        actions, "queue", "status", "Show how many jobs are where, and who works on them.", STATUS_NOTES
    )
    add_queue_server(parser)
    parser.add_argument("--watch", action="store_true", help="again and again, with a bar and jobs a second")
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=positive, default=1.0, help="of --watch (default: 1)"
    )
    add_json(parser, "each status, one a line,")
    parser.set_defaults(action=in_event_loop(_status))


def _add_dead(actions: Any) -> None:
    parser = add_action(actions, "queue", "dead", "List the jobs that have failed.", DEAD_NOTES)
    add_queue_server(parser)
    add_json(parser, "each job, one a line,")
    parser.set_defaults(action=in_event_loop(_dead))


def _add_retry(actions: Any) -> None:
    parser = add_action(actions, "queue", "retry", "Let failed jobs begin anew.", RETRY_NOTES)
    add_queue_server(parser)
    parser.add_argument("ids", metavar="ID", type=job_id, nargs="*", help="of jobs")
    parser.add_argument("--all", action="store_true", help="all that have failed, but for those that were cancelled")
    add_json(parser, "what each is then, one a line,")
    parser.set_defaults(action=_retry)


def _add_cancel(actions: Any) -> None:
    parser = add_action(actions, "queue", "cancel", "Cancel jobs.", CANCEL_NOTES)
    add_queue_server(parser)
    parser.add_argument("ids", metavar="ID", type=job_id, nargs="+", help="of jobs")
    add_json(parser, "what each is then, one a line,")
    parser.set_defaults(action=in_event_loop(_cancel))


async def _serve(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_process import serve_queue

    await serve_queue(options)
    return 0


async def _status(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_jobs import queue_of
    from chanlink.command.actions.queue_status import show

    async with queue_of(options) as queue:
        await show(queue, options)
    return 0


async def _dead(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_jobs import failed_behind, print_failed, queue_of

    async with queue_of(options) as queue:
        page = await failed_behind("", queue, options)
        while page:
            for job in page:
                print_failed(job, options)
            page = await failed_behind(page[-1].id, queue, options)
    return 0


def _retry(options: argparse.Namespace) -> int:
    if options.all == bool(options.ids):
        raise Usage("give the ids of jobs, or --all")
    return in_event_loop(_retry_all if options.all else _retry_some)(options)


async def _retry_all(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_jobs import queue_of, retry_all

    async with queue_of(options) as queue:
        note(f"{await retry_all(queue, options):,} jobs wait again")
    return 0


async def _retry_some(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_jobs import change_each, queue_of

    async with queue_of(options) as queue:
        return 0 if await change_each(queue.retry, options.ids, options) else FAILED


async def _cancel(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_jobs import change_each, queue_of

    async with queue_of(options) as queue:
        return 0 if await change_each(queue.cancel, options.ids, options) else FAILED
