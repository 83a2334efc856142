"""``python -m tests.fuzz [--seconds N] [target ...]``: fuzz each target in a process of its own, by atheris.

Each input is tried as it is, and one of some also as long as the target's inputs may be. Ends with an error if
something escapes, or if an input takes more processor time than its target says (the least of three, without
instruments). Each target says what the slowest of the inputs took that are kept.
New inputs that reach new code stay in .fuzz/<target>; what escaped is in .fuzz/crash-<target>-*.
"""

import argparse
import gc
import subprocess
import sys
import time
import zlib
from pathlib import Path

HERE = Path(__file__).parent
FOUND = Path(".fuzz")
LENGTH = 8_192
LENGTHS = {"frames": 1_024}
"""A dozen frames: longer inputs have more of the same, and are six times as slow."""
GROWN = 256
"""One of this many inputs is also tried as long as can be."""


def fuzz(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["chanlink", "examples"]):
        from .every import TARGETS
    target = TARGETS[name]

    def one_input(data: bytes) -> None:
        tried = [data]
        if zlib.crc32(data) % GROWN == 0:
            tried.append(target.grow(data, target.longest))
        for one in tried:
            began = time.process_time()
            target.run(one)
            if time.process_time() - began > target.seconds:
                took = processor_time(name, one)
                assert took <= target.seconds, f"an input of {len(one)} bytes took {took:.3f} s"

    new = FOUND / name
    new.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LENGTHS.get(name, LENGTH)}",
        "-timeout=60",
        f"-artifact_prefix={FOUND}/crash-{name}-",
    ]
    atheris.Setup(
        [name, *options, "-print_final_stats=1", "-verbosity=0", str(new), str(HERE / "corpus" / name)], one_input
    )
    atheris.Fuzz()


def processor_time(name: str, data: bytes) -> float:
    """What an input takes without the instruments that fuzzing puts in, in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz", "--measure", name]
    return float(subprocess.run(command, input=data, capture_output=True, check=True).stdout)


def measure(name: str, data: bytes) -> float:
    """The least of three times."""
    from .every import TARGETS

    took = []
    for _ in range(3):
        gc.collect()
        began = time.process_time()
        TARGETS[name].run(data)
        took.append(time.process_time() - began)
    return min(took)


def slowest(name: str) -> tuple[float, float]:
    """Of the inputs that are kept: as they are, and as long as can be."""
    from .every import TARGETS

    target, folders = TARGETS[name], (HERE / "corpus" / name, FOUND / name)
    kept = [path.read_bytes() for folder in folders if folder.is_dir() for path in folder.iterdir()]
    grown = (target.grow(data, target.longest) for data in kept[:1_000])
    return max(measure(name, data) for data in kept), max(measure(name, data) for data in grown)


def run(name: str, seconds: int) -> bool:
    """Whether a target held."""
    command = [sys.executable, "-m", "tests.fuzz", "--inside", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    stats = dict(line.split("::")[1].split(":") for line in done.stderr.splitlines() if line.startswith("stat::"))
    as_is, grown = slowest(name)
    print(
        f"{name}: {int(stats.get('number_of_executed_units', 0)):,} inputs",
        f"the slowest {as_is * 1e3:.2f} ms, as long as can be {grown * 1e3:.2f} ms",
        "failed" if done.returncode else "",
        sep=", ",
        flush=True,
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    return done.returncode == 0


def main() -> int:
    names = sorted(path.name for path in (HERE / "corpus").iterdir())
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", default=names)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.measure, sys.stdin.buffer.read()))
        return 0
    if options.inside:
        fuzz(options.inside, options.seconds)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("skipped: atheris is not installed (pip install --group fuzz)")
        return 0
    held = [run(name, options.seconds) for name in options.targets]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
