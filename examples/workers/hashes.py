"""The SHA-256 of each file of a tree, by any number of workers. Any of these programs may be killed at any time."""

import argparse
import sys
from pathlib import Path
from signal import SIGINT, SIGTERM

import anyio
import chanlink
from chanlink.patterns import SQLiteStore, work_queue

from bring import submit
from hashing import File, Hashed
from live import show
from work import work


async def serve(options: argparse.Namespace) -> None:
    identity, trust = chanlink.Identity.load(options.identity), chanlink.Trust.load(options.trust)
    store = SQLiteStore(options.store)
    async with work_queue(File, Hashed, store=store, silence=options.silence, attempts=options.attempts) as queue:
        services = {"hashes": queue}
        await chanlink.serve(services, options.address, identity=identity, trust=trust, signals=(SIGINT, SIGTERM))


async def linked(options: argparse.Namespace) -> None:
    async with chanlink.reconnecting(
        options.address,
        identity=chanlink.Identity.load(options.identity),
        peer=chanlink.PublicKey.load(options.peer),
    ) as link:
        await options.do(link, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The SHA-256 of each file of a tree, by many workers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="keep the queue")
    serving.add_argument("--trust", metavar="FILE", required=True, help="the public keys of those who may connect")
    serving.add_argument("--store", metavar="FILE", default="jobs.db", help="where the jobs are kept")
    serving.add_argument("--silence", metavar="SECONDS", type=float, default=10, help="of a worker that is given up")
    serving.add_argument("--attempts", metavar="N", type=int, default=5, help="how often a job is given to a worker")
    serving.set_defaults(run=serve)
    working = commands.add_parser("work", help="do jobs, until SIGTERM or Ctrl-C; what runs then is finished")
    working.add_argument("--slots", metavar="N", type=int, default=4, help="how many at a time")
    working.add_argument("--rate", metavar="MB", type=float, help="megabytes a second, each of them")
    working.add_argument("folder", type=Path, nargs="?", help="the tree; not needed for files that are sent along")
    working.set_defaults(run=linked, do=work)
    submitting = commands.add_parser(
        "submit", help="bring a job for each file, and print the results as sha256sum does"
    )
    submitting.add_argument("--send", action="store_true", help="send the files along: the workers don't have them")
    submitting.add_argument("folder", type=Path, help="the tree")
    submitting.set_defaults(run=linked, do=submit)
    showing = commands.add_parser("show", help="what the queue and its workers are doing, until Ctrl-C")
    showing.add_argument("--once", action="store_true", help="say it once, and leave")
    showing.set_defaults(run=linked, do=show)
    for command in (working, submitting, showing):
        command.add_argument("--peer", metavar="FILE", required=True, help="the queue's public key")
    for command in (serving, working, submitting, showing):
        command.add_argument("--identity", metavar="FILE", required=True, help="our private key")
        command.add_argument("--address", default="tcp://127.0.0.1:9323", help="tcp://HOST:PORT or unix:/PATH")
    return parser.parse_args()


def main() -> None:
    options, status = parse(), 0
    try:
        anyio.run(options.run, options)
    except* chanlink.ChanlinkError as errors:
        print(f"hashes: {errors.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
