"""The wheel in environments without the repository: its programs run, its types hold, and what is missing is named."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.project.test_package import EXTRAS, PROJECT

from .environments import FAR_TOO_LONG, ROOT, Environment, find_python
from .extras import IMPORTS, PROGRAMS, USES

TALKING, CALLING = USER_PROGRAMS = [Path(__file__).with_name(name) for name in ("user_program.py", "user_calls.py")]


@contextmanager
def serving(environment: Environment, *command: str | Path) -> Iterator[str]:
    """What a server says first."""
    server = subprocess.Popen(
        command, cwd=environment.home, env=environment.variables(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.communicate(timeout=FAR_TOO_LONG)


def test_nothing_is_taken_from_the_repository(plain: Environment) -> None:
    place = plain.output(plain.python, "-c", "import chanlink; print(chanlink.__file__)")
    assert place.startswith(str(plain.bin.parent))
    assert str(ROOT) not in plain.output(plain.python, "-c", "import sys; print(sys.path)")


def test_two_processes_talk(plain: Environment) -> None:
    for name in ("server", "alice"):
        assert plain.run("chanlink", "keygen", "--comment", name, name).returncode == 0
    program = [plain.python, TALKING]
    with serving(plain, *program, "serve", "server", "alice.pub") as address:
        assert plain.output(*program, "call", "alice", "server.pub", address) == "HELLO, alice\n"


def test_the_command_is_a_program_and_a_module(plain: Environment) -> None:
    assert plain.output("chanlink", "--help") == plain.output(plain.python, "-m", "chanlink", "--help")
    assert plain.output("chanlink", "--version").startswith("chanlink ")


def test_pip_installs_it_as_uv_does(wheel: Path, plain: Environment) -> None:
    plain.install("pip")
    plain.output(plain.python, "-m", "pip", "--disable-pip-version-check", "--quiet", "check")
    plain.output(
        plain.python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
        "--force-reinstall",
        wheel,
    )
    assert plain.output(plain.python, "-m", "chanlink", "--version").startswith("chanlink ")


def test_users_have_the_types(plain: Environment) -> None:
    plain.install("mypy")
    for program in USER_PROGRAMS:
        shutil.copy(program, plain.home)  # the folder of a program is searched for modules: ours is the repository
    checked = plain.run(plain.python, "-m", "mypy", "--strict", *(program.name for program in USER_PROGRAMS))
    assert checked.stdout == "Success: no issues found in 2 source files\n", checked
    (plain.home / "wrong.py").write_text("import chanlink\n\nchanlink.pipe('many')\n")
    checked = plain.run(plain.python, "-m", "mypy", "--strict", "wrong.py")
    assert 'wrong.py:3: error: No overload variant of "pipe" matches argument type "str"' in checked.stdout


@pytest.mark.parametrize("extra", USES)
def test_without_an_extra_the_error_names_it(extra: str, plain: Environment) -> None:
    failed = plain.run(plain.python, "-c", USES[extra])
    *_, last = failed.stderr.strip().splitlines()
    assert failed.returncode == 1
    assert f"chanlink[{extra}]" in last


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_by_itself_brings_what_it_is_for(extra: str, wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.install(f"chanlink[{extra}] @ {wheel.as_uri()}")
    for program in PROGRAMS[extra]:
        environment.output(environment.python, "-c", program)
    if extra == "typed":
        assert environment.output(environment.python, CALLING) == "3\n"
    if extra == "all":
        assert environment.output(environment.python, "-c", IMPORTS) == ""


def test_a_module_that_needs_an_extra_names_it_and_all_others_need_none(plain: Environment) -> None:
    for line in plain.output(plain.python, "-c", IMPORTS).splitlines():
        assert re.search(rf"chanlink\[({'|'.join(EXTRAS)})\]", line)


def test_an_older_python_is_told_why_not(wheel: Path, tmp_path: Path) -> None:
    if (old := find_python(10)) is None:
        pytest.skip("no Python 3.10 here")
    environment = Environment(tmp_path, old)
    environment.install("pip")
    refused = environment.run(environment.python, "-m", "pip", "--disable-pip-version-check", "install", wheel)
    assert refused.returncode == 1
    assert re.search(rf"requires a different Python: 3\.10\.\d+ not in '{PROJECT['requires-python']}'", refused.stderr)
