"""Every shell block of every page runs, and what is in a page that is wrong is noticed."""

import re
import socket
import subprocess
from pathlib import Path
from typing import Protocol

import pytest

from tests.patience import PATIENCE
from tests.rexec.servers import alive

from .pages import NAMED, PAGES, ROOT, Block, blocks_of, name_of, pasted
from .pasting import Done, missing_programs, networks_of_their_own, programs_of_a_reader, run_page, with_free_ports

pytestmark = pytest.mark.slow

PASTED = [page for page in PAGES if pasted(page)]
"""Those with commands; test_docs.py runs what is written in Python."""


@pytest.mark.parametrize("page", PASTED, ids=name_of)
def test_every_command_of_a_page_runs_and_prints_what_the_page_says(page: Path, installed: Path) -> None:
    if missing := missing_programs(page):
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = run_page(page, programs_of_a_reader(page, installed))
    assert not done.problem, "\n".join([*done.output, done.problem])


def test_every_page_says_where_its_commands_can_be_pasted() -> None:
    """zsh takes a comment for words of the command, unless it is told otherwise."""
    for page in PASTED:
        assert "can be pasted into bash" in re.sub(r"\s+", " ", page.read_text()), page


def test_every_how_to_has_something_that_runs() -> None:
    for page in (ROOT / "docs" / "howto").glob("*.md"):
        assert any(block.language in ("sh", "python") for block in blocks_of(page)), page


def test_what_is_installed_for_readers_are_not_the_sources(installed: Path) -> None:
    ask = "import chanlink, rexec; print(chanlink.__file__, rexec.__file__)"
    python = installed / "bin" / "python"
    done = subprocess.run([python, "-c", ask], cwd=installed, capture_output=True, text=True, check=True)
    for path in done.stdout.split():
        assert Path(path).is_relative_to(installed)


class Run(Protocol):
    def __call__(self, *blocks: str, patience: float = PATIENCE) -> Done: ...


@pytest.fixture
def run(tmp_path: Path, installed: Path) -> Run:
    """Paste blocks; those whose first line is the name of a file are saved."""

    def run(*blocks: str, patience: float = PATIENCE) -> Done:
        page = tmp_path / f"{len(list(tmp_path.iterdir()))}.md"
        marked = (("python" if NAMED.match(block) else "sh", block) for block in blocks)
        page.write_text("".join(f"Words.\n\n```{language}\n{block}\n```\n\n" for language, block in marked))
        return run_page(page, installed / "bin", patience)

    return run


class TestTheMechanism:
    """A page that is wrong is noticed."""

    def test_a_command_that_fails_ends_the_page(self, run: Run) -> None:
        done = run("echo one", "echo two\nfalse\necho three", "echo four")
        assert done.problem == "a command of the page has failed: 1 false"
        assert "one" in done.output
        assert "four" not in done.output

    def test_a_command_that_is_to_fail_does_not(self, run: Run) -> None:
        done = run('false || echo "status $?"', "if ! false; then echo no; fi")
        assert (done.problem, done.output) == ("", ["status 1", "no"])

    def test_blocks_go_into_one_shell_in_a_home_of_its_own(self, run: Run) -> None:
        done = run("here=$PWD", 'test "$here" = ~ && type rexec', "cat <<END\na\nb\nEND")
        assert not done.problem
        assert done.output[0].endswith("bin/rexec")
        assert done.output[1:] == ["a", "b"]

    def test_what_is_echoed_is_not_what_is_printed(self, run: Run) -> None:
        done = run("# echo x", "echo y > /dev/null  # prints: y")
        assert (done.problem, done.output) == ("'y' is not printed, or not in its turn", [])

    def test_lines_are_printed_in_their_turn(self, run: Run) -> None:
        assert not run("echo a; echo b; echo c", "# prints: a\n# prints: c").problem
        assert run("echo a; echo c", "# prints: c\n# prints: a").problem

    def test_a_program_is_saved_where_the_shell_is(self, run: Run) -> None:
        program = "# greet.py\nprint('hello')\nprint('$HOME')  # prints: $HOME"
        done = run("mkdir here && cd here", program, "cd && python here/greet.py")
        assert (done.problem, done.output) == ("", ["hello", "$HOME"])

    def test_what_a_program_shall_print_is_printed_after_it_was_saved(self, run: Run) -> None:
        assert run("echo hello", "# greet.py\n# prints: hello", "true").problem

    def test_a_long_block_goes_in_as_a_whole(self, run: Run) -> None:
        """Longer than what a terminal holds, in either direction."""
        many = "\n".join(f"# line {number} of a program that is somewhat long" for number in range(4000))
        done = run(f"# long.py\n{many}", "wc -l < long.py")
        assert (done.problem, done.output) == ("", ["4001"])

    def test_nobody_waits_for_a_command_in_the_background(self, run: Run) -> None:
        """As in a shell: it is the page that has to."""
        done = run("(until test -e go; do sleep 0.1; done; echo late > file) &\ncat file\ntouch go")
        assert done.problem.startswith("a command of the page has failed: 1 cat file")

    def test_what_runs_in_the_background_is_ended(self, run: Run) -> None:
        trapping = "sh -c 'trap : HUP TERM; sleep 1000 & touch set; wait' &\nuntil test -e set; do sleep 0.1; done"
        done = run("sleep 1000 &", 'echo "$! it is"', trapping)
        (pid,) = [line.split()[0] for line in done.output if line.endswith("it is")]
        assert not alive(int(pid))

    def test_a_job_that_reads_from_the_terminal_is_stopped(self, run: Run) -> None:
        """As a shell does it: a page has to say where else it reads from."""
        assert not run("cat &\nuntil jobs | grep Stopped; do sleep 0.1; done").problem

    @pytest.mark.parametrize("block", ["sleep 1000", "cat", "until false; do sleep 1; done", "exit", "echo 'open"])
    def test_a_block_that_does_not_come_to_an_end_is_a_problem(self, run: Run, block: str) -> None:
        done = run(block, "echo on", patience=0.5)
        assert done.problem in ("not done after 0.5 s", "the shell has ended")
        assert "on" not in done.output

    def test_a_page_in_a_network_of_its_own_can_use_any_port(self, run: Run) -> None:
        """While this test holds it; or it is another port, if pages can have no network of their own."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            listen = f"python3 -m http.server --bind 127.0.0.1 {port} > log &"
            wait = "until grep Serving log; do sleep 0.1; done"
            if not networks_of_their_own():
                pytest.skip("this user may not make networks")
            assert run(listen.replace("-m", "-u -m"), wait).problem == ""

    def test_ports_are_replaced_where_there_is_no_network_of_its_own(self) -> None:
        block = Block("sh", "listen tcp://127.0.0.1:9323", 1)
        first, second = with_free_ports([block, block])
        assert first == second
        assert first.text.startswith("listen tcp://127.0.0.1:")
        assert first.text != block.text
