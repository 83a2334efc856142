"""A queue of jobs, written on channels only: a job is a number, and the work is to find its prime factors."""

import argparse
import sys
from signal import SIGINT, SIGTERM

import anyio
import chanlink

from job_queue import JobQueue, Job, Work


async def serve(options: argparse.Namespace) -> None:
    await chanlink.serve(
        JobQueue().services(),
        options.address,
        identity=chanlink.Identity.load(options.identity),
        trust=chanlink.Trust.load(options.trust),
        signals=(SIGINT, SIGTERM),
        drain=0,  # the jobs are in its memory: there is nothing to wait for
    )


async def work(session: chanlink.Session, options: argparse.Namespace) -> None:
    async with await session.open("work", chanlink.Sender[Work]) as asks:
        while True:
            worker, jobs = chanlink.pipe(item_type=Work)
            await asks.send(worker)
            async with jobs:
                job = await jobs.receive()
            print(f"working on {job.number}", flush=True)
            async with job.done:
                await job.done.send(await factors(job.number))


async def submit(session: chanlink.Session, options: argparse.Namespace) -> None:
    async with await session.open("submit", Job) as queue, anyio.create_task_group() as tasks:
        for number in options.numbers:
            result, results = chanlink.pipe(item_type=list[int])
            await queue.send(Job(number, result))
            tasks.start_soon(show, number, results)


async def show(number: int, results: chanlink.Receiver[list[int]]) -> None:
    async with results:
        print(number, "=", " * ".join(map(str, await results.receive())), flush=True)


async def factors(number: int) -> list[int]:
    """The work. It takes long when the second largest prime factor is large."""
    found: list[int] = []
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            found.append(divisor)
            number //= divisor
        else:
            divisor += 1
            if divisor % 10_000 == 0:
                await anyio.lowlevel.checkpoint()  # the session has its turn, and Ctrl-C
    return [*found, number]


async def connected(options: argparse.Namespace) -> None:
    async with chanlink.connect(
        options.address,
        identity=chanlink.Identity.load(options.identity),
        peer=chanlink.PublicKey.load(options.peer),
        wait=options.wait,
    ) as session:
        await options.do(session, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A queue of jobs, its workers, and those who bring jobs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="keep the queue")
    serving.add_argument("--trust", metavar="FILE", required=True, help="the public keys of those who may connect")
    serving.set_defaults(run=serve)
    working = commands.add_parser("work", help="do one job after the other")
    working.set_defaults(run=connected, do=work)
    submitting = commands.add_parser("submit", help="bring jobs, and wait for their results")
    submitting.add_argument("numbers", metavar="NUMBER", type=int, nargs="+", help="whose prime factors are wanted")
    submitting.set_defaults(run=connected, do=submit)
    for command in (working, submitting):
        command.add_argument("--peer", metavar="FILE", required=True, help="the queue's public key")
        command.add_argument(
            "--wait", metavar="SECONDS", type=float, default=0, help="for a queue that is being started"
        )
    for command in (serving, working, submitting):
        command.add_argument("--identity", metavar="FILE", required=True, help="our private key")
        command.add_argument("--address", default="tcp://127.0.0.1:9323", help="tcp://HOST:PORT or unix:/PATH")
    return parser.parse_args()


def main() -> None:
    options, status = parse(), 0
    try:
        anyio.run(options.run, options)
    except* chanlink.ChanlinkError as errors:
        print(f"jobs: {errors.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
