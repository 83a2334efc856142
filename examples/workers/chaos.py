"""Kills and stops the programs of hashes.py at random while they work, and looks whether each file has its hash."""

import argparse
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import chanlink

from checking import made, mistakes

PROGRAM = Path(__file__).with_name("hashes.py")
SILENCE = 1.0
"""Seconds after which the queue gives a job to somebody else."""


class Member:
    """One of the programs: a process, and the next one when that was killed."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.name = name
        self.happened: Counter[str] = Counter()
        self._folder = folder
        self._arguments = [*arguments, "--identity", name, "--address", "unix:socket"]
        self._start()

    def _start(self) -> None:
        with self.file("out").open("a") as out, self.file("log").open("a") as log:
            command = [sys.executable, str(PROGRAM.resolve()), *self._arguments]
            self.process = subprocess.Popen(command, cwd=self._folder, stdout=out, stderr=log)

    def file(self, suffix: str) -> Path:
        return self._folder / f"{self.name}.{suffix}"

    async def disturb(self, times: int, every: float) -> None:
        """Kill it and start it anew, or stop it, for shorter or longer than it may be silent; and so on."""
        for _ in range(times):
            await anyio.sleep(random.uniform(0.5, 2 * every - 0.5))
            if random.random() < 0.5:
                self.happened["killed"] += 1
                self.end()
                self._start()
            else:
                self.happened["stopped"] += 1
                self.process.send_signal(signal.SIGSTOP)
                await anyio.sleep(random.uniform(0, 2.5 * SILENCE))
                self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def members(folder: Path, options: argparse.Namespace) -> tuple[Member, list[Member], Member]:
    """The queue, the workers, and who brings the jobs."""
    workers = [f"worker{number}" for number in range(options.workers)]
    for name in ("queue", "bringer", *workers):
        chanlink.Identity.generate(name).save(folder / name)
    (folder / "people").write_text("".join((folder / f"{name}.pub").read_text() for name in ("bringer", *workers)))
    keep = ("serve", "--trust", "people", "--silence", str(SILENCE), "--attempts", "100")
    work = ("work", "--peer", "queue.pub", "--rate", "0.2", *([] if options.send else ["tree"]))
    bring = ("submit", "--peer", "queue.pub", *(["--send"] if options.send else []), "tree")
    return (
        Member(folder, "queue", *keep),
        [Member(folder, name, *work) for name in workers],
        Member(folder, "bringer", *bring),
    )


async def until_done(everybody: list[Member], bringer: Member, options: argparse.Namespace) -> None:
    async with anyio.create_task_group() as tasks:
        for member in everybody:
            tasks.start_soon(member.disturb, options.times, options.every)
        while bringer.process.poll() in (None, -signal.SIGKILL):  # one that was killed is started anew
            await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()


async def main(options: argparse.Namespace) -> int:
    options.folder.mkdir()
    expected = made(options.folder, options.files)
    queue, workers, bringer = members(options.folder, options)
    everybody = [queue, *workers, bringer]
    try:
        await until_done(everybody, bringer, options)
    finally:
        for member in everybody:
            member.end()
    for member in everybody:
        print(f"{member.name} was killed {member.happened['killed']} and stopped {member.happened['stopped']} times")
    print(bringer.file("log").read_text().splitlines()[-1])
    said = "".join(worker.file("out").read_text() for worker in workers)
    wrong = mistakes(expected, bringer.file("out").read_text(), said)
    print(*wrong or ["each file has one hash, the same as by one process"], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill and stop a queue, its workers and who brings jobs, at random.")
    parser.add_argument("--files", metavar="N", type=int, default=300)
    parser.add_argument("--workers", metavar="N", type=int, default=3)
    parser.add_argument("--times", metavar="N", type=int, default=5, help="how many mishaps each of them has")
    parser.add_argument("--every", metavar="SECONDS", type=float, default=4, help="between two of them")
    parser.add_argument("--send", action="store_true", help="send the files along with their jobs")
    parser.add_argument("folder", type=Path, help="is made for it")
    sys.exit(anyio.run(main, parser.parse_args()))
