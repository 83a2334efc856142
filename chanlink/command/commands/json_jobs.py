"""``chanlink queue submit`` and ``chanlink queue work``: jobs as JSON, for programs in any language."""

import argparse
import shutil
from typing import Any

from chanlink.command.options import add_action, add_queue_server, from_one, job_id
from chanlink.command.output import add_json
from chanlink.command.problems import Problem, Usage
from chanlink.command.sessions import in_event_loop

FAILED = 1
"""Some job has."""
MOST_SLOTS = 10_000
SUBMIT_NOTES = """\
Prints the id of each job once the queue has stored it. With --result it is a line of JSON for each job when that has
ended, {"id": ..., "result": ...} or {"id": ..., "failed": CODE, "text": ..., "attempt": N}; of one JOB, what its worker
says meanwhile goes to standard error. The status is 1 if one has failed.

examples:
  chanlink queue submit --id page-17 tcp://build:9323 '{"page": 17}'
  chanlink queue submit --result tcp://build:9323 '{"page": 17}' | jq .result
  ls | jq -R . | chanlink queue submit tcp://build:9323 -
"""
WORK_NOTES = """\
The command gets the job as JSON on standard input, and its id and the number of the attempt in CHANLINK_JOB_ID and
CHANLINK_JOB_ATTEMPT. Each line that it prints is told to whoever waits; the last one is the result: as JSON if it is
that, otherwise as text. It is done with status 0. With 65 it has failed for ever; with any other one, another attempt
begins in 1, 2, 4 ... 60 seconds. When the job gets another outcome, such as being cancelled, the command is killed.

Connects again when the queue is gone. At Ctrl-C, SIGTERM and SIGHUP it takes no more jobs, and waits for those that
run; a second one kills them.

examples:
  chanlink queue work tcp://build:9323 -- sh -c 'jq -r .url | xargs curl -sf | sha256sum'
  chanlink queue work --slots 4 tcp://build:9323 -- ./thumbnail
"""


def add(actions: Any) -> None:
    """To those of ``chanlink queue``."""
    _add_submit(actions)
    _add_work(actions)


def _add_submit(actions: Any) -> None:
    parser = add_action(actions, "queue", "submit", "Bring jobs that are written as JSON.", SUBMIT_NOTES)
    add_queue_server(parser)
    parser.add_argument("job", metavar="JOB", help="as JSON; - for standard input, of which each line is one")
    parser.add_argument(
        "--id",
        metavar="ID",
        type=job_id,
        help="of JOB: brought again with it, it is the same job (default: a random one)",
    )
    parser.add_argument("--result", action="store_true", help="wait for what becomes of them, and print that as JSON")
    add_json(parser, "each id, and whether the job is new, one a line,")
    parser.set_defaults(action=_submit)


def _add_work(actions: Any) -> None:
    parser = add_action(actions, "queue", "work", "Run a command for each job.", WORK_NOTES)
    add_queue_server(parser)
    parser.add_argument("program", metavar="COMMAND", nargs="+", help="what is run, behind --")
    parser.add_argument(
        "--slots", metavar="N", type=from_one, default=1, help="how many jobs run at a time (default: 1)"
    )
    parser.set_defaults(action=_work)


def _submit(options: argparse.Namespace) -> int:
    if options.id is not None and options.job == "-":
        raise Usage("--id is that of one job: give it as JOB")
    return in_event_loop(_submit_all)(options)


async def _submit_all(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_submit import submit

    return 0 if await submit(options) else FAILED


def _work(options: argparse.Namespace) -> int:
    if options.slots > MOST_SLOTS:
        raise Usage(f"--slots is at most {MOST_SLOTS}")
    if shutil.which(options.program[0]) is None:
        raise Problem(f"{options.program[0]}: no such command")
    return in_event_loop(_work_on)(options)


async def _work_on(options: argparse.Namespace) -> int:
    from chanlink.command.actions.queue_work import work

    await work(options)
    return 0
