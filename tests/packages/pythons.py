"""The tests on other Pythons, and with other versions of what we need: ``python -m tests.packages.pythons 3.12 3.13``.

``3.12:lowest`` is Python 3.12 with the lowest version that pyproject.toml allows of each dependency and of what belongs
to an extra. Otherwise each is the newest. What else the tests need is the newest in both cases.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from .environments import ROOT, Environment, find_python


def prepare(place: Environment, lowest: bool) -> None:
    """Install us as we stand here, and what our tests need."""
    if lowest:
        place.install("--resolution", "lowest-direct", "--editable", f"{ROOT}[all]")
    place.install(
        "--editable", f"{ROOT}[all]", "--group", f"{ROOT}/pyproject.toml:dev"
    )  # nothing that will do is changed


def run_tests(python: str, lowest: bool, pytest_arguments: list[str]) -> bool:
    """Whether they pass. A Python that this machine has not is passed over, by name."""
    if (program := find_python(int(python.removeprefix("3.")))) is None:
        print(f"skipped: there is no Python {python} here", flush=True)
        return True
    with tempfile.TemporaryDirectory(prefix="chanlink-") as folder:
        place = Environment(Path(folder), program)
        prepare(place, lowest)
        print(f"Python {python}, {'lowest' if lowest else 'newest'} versions", flush=True)
        command = [str(place.python), "-m", "pytest", "-q", *pytest_arguments]
        variables = {**place.variables(), "HOME": str(Path.home())}
        return not subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser("tests.packages.pythons", epilog="Further arguments are those of pytest.")
    parser.add_argument("python", nargs="+", metavar="3.N[:lowest]")
    options, pytest_arguments = parser.parse_known_args()
    runs = [python.partition(":") for python in options.python]
    passed = [run_tests(python, which == "lowest", pytest_arguments) for python, _, which in runs]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
