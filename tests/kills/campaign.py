"""Rounds: a command, and something that is killed at a random moment.

The command says the ids of itself and of its child in a file, writes numbered lines, says its status in a file, and
ends. Then must hold:

- what arrived is a beginning of what it wrote, without a gap;
- the client ends with the status that the command said, and then everything has arrived; or with its own error;
- no process of the command is left, nor of the server if that was killed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.rexec.servers import PATIENCE, ROOT, Server, alive, gone, until

from .cutting import Proxy

OURS = 255
"""The status of a client for errors of its own."""
VICTIMS = ("client", "client by TERM", "server", "guard", "connection", "command", "nobody")
MARK = "REXEC_KILLS"
SCRIPT = """
import os, signal, sys, time
folder, lines, status, pause, stubborn = sys.argv[1], *map(float, sys.argv[2:])
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if not child:
    os.close(1), os.close(2)
    time.sleep(1000)
with open(folder + "/pids.new", "w") as file:
    file.write(f"{os.getpid()} {child}")
os.rename(folder + "/pids.new", folder + "/pids")
for number in range(int(lines)):
    os.write(1, b"%d\\n" % number)
    if pause:
        time.sleep(pause)
os.kill(child, 9)
os.waitpid(child, 0)
with open(folder + "/status", "w") as file:
    file.write(str(int(status)))
sys.exit(int(status))
"""


class Worker:
    """Has a server of its own, and another one when that was killed."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        folder.mkdir()
        self.folder = folder
        self.chance = chance
        self.count = 0
        self.seen: Counter[str] = Counter()
        self._serve()

    def _serve(self) -> None:
        self.server = Server(self.folder, "--grace", "0.3")
        self.proxy = Proxy(self.server.address)

    def close(self) -> None:
        self.proxy.close()
        self.server.stop()

    def round(self) -> None:
        self.count += 1
        (folder := self.folder / str(self.count)).mkdir()
        chance = self.chance
        victim = chance.choice(VICTIMS)
        lines, pause = chance.choice([(0, 0.0), (100, 0.003), (50_000, 0.0)])
        status, stubborn = chance.randrange(250), chance.choice([0, 1])
        command = self.server.command(
            sys.executable, "-I", "-S", "-c", SCRIPT, *map(str, (folder, lines, status, pause, stubborn)),
            options=["-e", f"{MARK}={folder}"],
        )  # fmt: skip
        command = [self.proxy.address if word == self.server.address else word for word in command]
        with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
            client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        if chance.random() < 0.7:  # else the start is what is hit
            until(lambda: (folder / "pids").exists() or client.poll() is not None)
        time.sleep(chance.random() ** 2 * 0.6)
        guard = self.server.guard
        self._kill(victim, client, guard, folder)
        try:
            returncode = client.wait(PATIENCE)
        except subprocess.TimeoutExpired as exc:
            client.kill()
            raise AssertionError(f"{victim}: {folder}: the client does not end") from exc
        self._check(victim, folder, returncode, lines, status)
        self._nothing_is_left(victim, folder, guard)

    def _kill(self, victim: str, client: "subprocess.Popen[bytes]", guard: int, folder: Path) -> None:
        match victim:
            case "client":
                client.kill()
            case "client by TERM":
                client.terminate()
            case "server":
                self.server.stop(signal.SIGKILL)
            case "guard" if guard:
                os.kill(guard, signal.SIGKILL)
            case "connection":
                self.proxy.cut()
            case "command" if (folder / "pids").exists():
                pid = int((folder / "pids").read_text().split()[0])
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)

    def _check(self, victim: str, folder: Path, returncode: int, lines: int, status: int) -> None:
        whole = b"".join(b"%d\n" % number for number in range(lines))
        output = (folder / "output").read_bytes()
        where = f"{victim}: {folder}: {returncode}: {(folder / 'errors').read_text()}"
        assert whole.startswith(output), where
        done = (folder / "status").exists()
        if returncode == status and done:
            assert output == whole, where
            self.seen[f"{victim}: the right status"] += 1
        elif victim == "command" and returncode == 128 + signal.SIGKILL:
            self.seen[f"{victim}: its signal"] += 1
        elif victim.startswith("client") and returncode in (-signal.SIGKILL, -signal.SIGTERM):
            self.seen[f"{victim}: no status"] += 1
        else:
            assert returncode == OURS, where
            assert victim in ("server", "guard", "connection"), where
            self.seen[f"{victim}: an error"] += 1

    def _nothing_is_left(self, victim: str, folder: Path, guard: int) -> None:
        if victim == "command" and (folder / "pids").exists():  # its child has no reason to end
            child = int((folder / "pids").read_text().split()[1])
            if alive(child):
                os.kill(child, signal.SIGKILL)
        until(lambda: not marked(folder))
        if victim == "server":
            gone([guard] if guard else [])
            self.proxy.close()
            self._serve()


def marked(folder: Path) -> list[int]:
    """The processes that were started by a round."""
    mark = f"{MARK}={folder}\0".encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _environment(pid)]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return b""


def campaign(folder: Path, rounds: int, seed: int, workers: int = 3) -> Counter[str]:
    """So many rounds; what was seen. Raises `AssertionError` for what must not be."""

    def work(number: int) -> Counter[str]:
        worker = Worker(folder / f"worker-{number}", random.Random(f"{seed}-{number}"))
        try:
            for _ in range(number, rounds, workers):
                worker.round()
        finally:
            worker.close()
        return worker.seen

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(work, range(workers)), Counter())
