"""The pages of docs/howto do what they say: every shell block of them runs."""

from pathlib import Path

import pytest

from .howto import ROOT, blocks_of, missing_programs, promised_output, run_page
from .rexec_servers import alive

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs_and_prints_what_the_page_says(page: Path) -> None:
    assert blocks_of(page), "a page without a command"
    if missing := missing_programs(page):
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = run_page(page)
    assert done.status == 0, "\n".join([*done.output, done.errors])
    printed = iter(done.output)
    for line in promised_output(page):
        assert line in printed, f"{line!r} is not printed, or not in its turn: {done}"


def test_there_are_pages() -> None:
    assert PAGES


class TestTheMechanism:
    """A page that is wrong is noticed."""

    def page(self, folder: Path, *blocks: str) -> Path:
        (page := folder / "page.md").write_text("".join(f"Words.\n\n```sh\n{block}\n```\n\n" for block in blocks))
        return page

    def test_a_command_that_fails_ends_the_page(self, tmp_path: Path) -> None:
        done = run_page(self.page(tmp_path, "echo one", "false", "echo two"))
        assert (done.status, done.output) == (1, ["one"])

    def test_blocks_are_one_script_in_a_home_of_its_own(self, tmp_path: Path) -> None:
        done = run_page(self.page(tmp_path, "here=$PWD", 'test "$here" = ~ && type rexec'))
        assert done.status == 0
        assert done.output[0].endswith("bin/rexec")

    def test_the_background_is_waited_for_and_ended(self, tmp_path: Path) -> None:
        script = 'sh -c "sleep 0.2; echo ready; exec sleep 1000" &\ncat background.1; echo $!'
        done = run_page(self.page(tmp_path, script))
        assert done.output[0] == "ready"
        assert not alive(int(done.output[1]))

    def test_a_background_command_that_says_nothing_and_ends_is_not_waited_for(self, tmp_path: Path) -> None:
        assert run_page(self.page(tmp_path, "true &\necho on")).output == ["on"]
