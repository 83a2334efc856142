"""The pages of docs/howto do what they say: every shell block of them runs."""

import re
from pathlib import Path

import pytest

from tests.rexec.servers import alive

from .howto import ROOT, blocks_of, missing_programs, promised_output, run_page

pytestmark = pytest.mark.slow

PAGES = sorted(page for page in (ROOT / "docs" / "howto").glob("*.md") if blocks_of(page))
"""Those with commands; test_docs.py runs what is written in Python."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs_and_prints_what_the_page_says(page: Path) -> None:
    if missing := missing_programs(page):
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = run_page(page)
    assert not done.problem, "\n".join([*done.output, done.problem])
    printed = iter(done.output)
    for line in promised_output(page):
        assert line in printed, f"{line!r} is not printed, or not in its turn: {done}"


def test_every_page_says_where_its_commands_can_be_pasted() -> None:
    """zsh takes a comment for words of the command, unless it is told otherwise."""
    for page in PAGES:
        assert "can be pasted into bash" in re.sub(r"\s+", " ", page.read_text())


def test_every_page_has_something_that_runs() -> None:
    for page in (ROOT / "docs" / "howto").glob("*.md"):
        assert page in PAGES or "```python\n" in page.read_text(), page
    assert len(PAGES) > 5


class TestTheMechanism:
    """A page that is wrong is noticed."""

    def page(self, folder: Path, *blocks: str) -> Path:
        (page := folder / "page.md").write_text("".join(f"Words.\n\n```sh\n{block}\n```\n\n" for block in blocks))
        return page

    def test_a_command_that_fails_ends_the_page(self, tmp_path: Path) -> None:
        done = run_page(self.page(tmp_path, "echo one", "echo two\nfalse\necho three", "echo four"))
        assert done.problem == "a command of the page has failed: 1 false"
        assert "one" in done.output
        assert "four" not in done.output

    def test_a_command_that_is_to_fail_does_not(self, tmp_path: Path) -> None:
        done = run_page(self.page(tmp_path, 'false || echo "status $?"', "if ! false; then echo no; fi"))
        assert (done.problem, done.output) == ("", ["status 1", "no"])

    def test_blocks_go_into_one_shell_in_a_home_of_its_own(self, tmp_path: Path) -> None:
        done = run_page(self.page(tmp_path, "here=$PWD", 'test "$here" = ~ && type rexec', "cat <<END\na\nb\nEND"))
        assert not done.problem
        assert done.output[0].endswith("bin/rexec")
        assert done.output[1:] == ["a", "b"]

    def test_what_is_echoed_is_not_what_is_printed(self, tmp_path: Path) -> None:
        assert run_page(self.page(tmp_path, "# echo x", "echo y > /dev/null  # prints: y")).output == []

    def test_nobody_waits_for_a_command_in_the_background(self, tmp_path: Path) -> None:
        """As in a shell: it is the page that has to."""
        done = run_page(
            self.page(tmp_path, "(until test -e go; do sleep 0.1; done; echo late > file) &\ncat file\ntouch go")
        )
        assert done.problem.startswith("a command of the page has failed: 1 cat file")

    def test_what_runs_in_the_background_is_ended(self, tmp_path: Path) -> None:
        done = run_page(self.page(tmp_path, "sleep 1000 &", 'echo "$! it is"', "sh -c 'trap : HUP TERM; sleep 1000' &"))
        (pid,) = [line.split()[0] for line in done.output if line.endswith("it is")]
        assert not alive(int(pid))

    def test_a_job_that_reads_from_the_terminal_is_stopped(self, tmp_path: Path) -> None:
        """As a shell does it: a page has to say where else it reads from."""
        script = "cat &\nuntil jobs | grep Stopped; do sleep 0.1; done"
        assert not run_page(self.page(tmp_path, script)).problem

    @pytest.mark.parametrize("block", ["sleep 1000", "cat", "until false; do sleep 1; done", "exit", "echo 'open"])
    def test_a_block_that_does_not_come_to_an_end_is_a_problem(self, tmp_path: Path, block: str) -> None:
        done = run_page(self.page(tmp_path, block, "echo on"), patience=0.5)
        assert done.problem in ("not done after 0.5 s", "the shell has ended")
        assert "on" not in done.output
