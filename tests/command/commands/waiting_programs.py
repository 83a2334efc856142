"""Three programs of `waiting_program` that are connected in a ring, one of them a relay."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chanlink import Identity
from tests.command.calls import environment

PROGRAM = Path(__file__).with_name("waiting_program.py")
LOOPS = {"a": "asyncio", "b": "trio", "c": "uvloop"}


class Program:
    def __init__(self, home: Path, name: str, loop: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), name, loop],
            cwd=home, env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, *words: str) -> None:
        """Returns when it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self._line() == "done"


def make_keys(home: Path) -> None:
    keys = [Identity.generate(name) for name in (*LOOPS, "client")]
    for key in keys:
        key.save(home / key.public_key.comment)
    (home / "trust").write_text("".join(f"{key.public_key}\n" for key in keys))


@contextmanager
def ring(home: Path) -> Iterator[dict[str, Program]]:
    """What a opens to c goes on to b, and b opens to a. Each has what the other one has opened."""
    make_keys(home)
    with ExitStack() as stack:
        programs = {name: Program(home, name, loop) for name, loop in LOOPS.items()}
        for program in programs.values():
            stack.enter_context(program.process)
            stack.callback(program.process.kill)
        for name, other in (("a", "c"), ("c", "b"), ("b", "a")):
            programs[name].say("to", other, programs[other].address)
        programs["c"].say("relay", "b")
        programs["a"].say("open", "c")
        programs["b"].say("open", "a")
        yield programs


def known(home: Path, programs: dict[str, Program]) -> list[str]:
    """The options and addresses for `chanlink graph`."""
    lines = []
    for name, program in programs.items():
        host, port = program.address.removeprefix("tcp://").rsplit(":", 1)
        lines.append(f"[{host}]:{port} {(home / f'{name}.pub').read_text()}")
    (home / "known").write_text("".join(lines))
    addresses = [program.address for program in programs.values()]
    return ["--identity", str(home / "client"), "--known", str(home / "known"), *addresses]
