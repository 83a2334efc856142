"""``python -m tests.fuzz [--seconds N] [target ...]``: fuzz each target in a process of its own, by atheris.

Ends with an error if something escapes, or if an input takes more than 100 ms (measured thrice, the shortest counts).
New inputs that reach new code stay in .fuzz/<target>; what escaped is in .fuzz/crash-<target>-*.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
FOUND = Path(".fuzz")
TOO_LONG = 0.1
LENGTH = 8_192
LENGTHS = {"frames": 1_024}
"""A dozen frames: longer inputs have more of the same, and are six times as slow."""


def fuzz(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["chanlink"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]

    def one_input(data: bytes) -> None:
        took = 1.0
        for _ in range(3):
            began = time.perf_counter()
            target(data)
            took = min(took, time.perf_counter() - began)
            if took < TOO_LONG:
                return
        raise AssertionError(f"an input took {took:.3f} s")

    new = FOUND / name
    new.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LENGTHS.get(name, LENGTH)}",
        "-timeout=5",
        f"-artifact_prefix={FOUND}/crash-{name}-",
    ]
    atheris.Setup(
        [name, *options, "-print_final_stats=1", "-verbosity=0", str(new), str(HERE / "corpus" / name)], one_input
    )
    atheris.Fuzz()


def main() -> int:
    names = sorted(path.name for path in (HERE / "corpus").iterdir())
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", default=names)
    options = parser.parse_args()
    if options.inside:
        fuzz(options.inside, options.seconds)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("skipped: atheris is not installed (pip install --group fuzz)")
        return 0
    failed = []
    for name in options.targets:
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, "--seconds", str(options.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        stats = dict(line.split("::")[1].split(":") for line in done.stderr.splitlines() if line.startswith("stat::"))
        print(f"{name}: {int(stats.get('number_of_executed_units', 0)):,} inputs", "failed" if done.returncode else "")
        if done.returncode:
            failed.append(name)
            print(done.stdout, done.stderr, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
