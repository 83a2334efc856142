"""rexec by its name: its archives, and its wheel beside chanlink's in an environment without the repository."""

import tarfile
from pathlib import Path

import pytest

import chanlink

from .check_archives import installed_by, tracked
from .check_installed import serving
from .environments import ROOT, Environment

SOURCE = "examples/rexec"
NOT_INSTALLED = {"demo.py", "pyproject.toml", "README.md", "LICENSE"}


@pytest.fixture(scope="module")
def wheel_of_rexec(dist: Path) -> Path:
    (wheel,) = dist.glob("chanlink_rexec-*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, wheel_of_rexec: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("rexec"))
    environment.install(wheel, wheel_of_rexec)
    return environment


def files() -> set[str]:
    return {name.removeprefix(f"{SOURCE}/") for name in tracked(SOURCE)}


def test_the_wheel_has_the_package_and_no_more(wheel_of_rexec: Path) -> None:
    assert installed_by(wheel_of_rexec) == {f"rexec/{name}" for name in files() - NOT_INSTALLED}


def test_the_sdist_has_what_the_folder_has(dist: Path) -> None:
    (sdist,) = dist.glob("chanlink_rexec-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - {"", ".gitignore"} == files() | {"PKG-INFO"}


def test_its_licence_is_chanlinks() -> None:
    assert (ROOT / SOURCE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_says_its_version(environment: Environment) -> None:
    assert environment.output("rexec", "--version") == f"rexec {chanlink.__version__}\n"
    assert environment.output(environment.python, "-m", "rexec", "--version") == f"rexec {chanlink.__version__}\n"


def test_it_runs_a_command(environment: Environment) -> None:
    for name in ("server", "alice"):
        environment.run("chanlink", "keygen", "--comment", name, name)
    trusted = ["--identity", "server", "--trust", "alice.pub"]
    with serving(environment, "rexec", "serve", "--listen", "tcp://127.0.0.1:0", *trusted) as said:
        address = said.removeprefix("listening on ")
        command = ["rexec", "run", "--identity", "alice", "--peer", "server.pub", address, "--"]
        assert environment.output(*command, "echo", "hello") == "hello\n"
        failed = environment.run(*command, "sh", "-c", "exit 7")
        assert (failed.returncode, failed.stdout, failed.stderr) == (7, "", "")


def test_its_script_for_bash_completes(environment: Environment) -> None:
    ask = "source <(rexec completion bash); COMP_WORDS=(rexec ser); COMP_CWORD=1; _rexec; echo ${COMPREPLY[*]}"
    assert environment.output("bash", "-c", ask) == "serve\n"
