"""What the documents say is true: their code runs, and their links lead somewhere."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

import chanlink
from tests.patience import PATIENCE

from .pages import LANGUAGES, PAGES, ROOT, Block, blocks_of, counts, name_of, programs

LEAST = {"pasted": 126, "saved": 54, "programs": 62, "promised lines": 320}
"""How many blocks of each sort the tests run."""

BLOCKS = [
    pytest.param(block, id=f"{name_of(page)}:{number}") for page in PAGES for number, block in enumerate(programs(page))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_the_documents_runs_and_prints_what_it_says(block: Block, installed: Path, tmp_path: Path) -> None:
    """In an empty folder, with chanlink installed."""
    script = tmp_path / "example.py"
    script.write_text(block.text)
    run = subprocess.run(
        [installed / "bin" / "python", "-W", "error", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": os.fspath(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == block.promises


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    """So that none is left out of the tests because of how it is written: pages.py says what becomes of which."""
    for block in blocks_of(page):
        assert block.language in LANGUAGES or block.language.startswith("{"), (
            f"{page}:{block.line}: a block has to be fenced and marked with one of {', '.join(sorted(LANGUAGES))}"
        )
        if block.language == "console":
            assert re.search(r"^\$ ", block.text, re.MULTILINE), f"{page}:{block.line}: what is typed has `$ ` in front"
        assert not block.promises or block.language in ("sh", "python"), f"{page}:{block.line}: nobody checks this"


def test_no_block_is_lost() -> None:
    """Raise these numbers when there are more: a page that is not found any more is noticed here."""
    found = dict(counts())
    assert all(found[name] >= least for name, least in LEAST.items()), f"of {LEAST} there are {found}"


FOR_READERS = [page for page in PAGES if page.parent.name in ("howto", "tutorial") or page.name == "command.md"]
"""Pages that show how something is done."""
NEVER_WRITTEN = {"__version__", "Encoded", "Incoming", "Listener"}
"""Public names that programs get values of, and need not write."""


def test_every_public_name_is_shown_at_work() -> None:
    shown = "\n".join(block.text for page in FOR_READERS for block in blocks_of(page) if block.language == "python")
    values = {name: getattr(chanlink, name) for name in chanlink.__all__}
    errors = {name for name, value in values.items() if isinstance(value, type) and issubclass(value, Exception)}
    for name in set(chanlink.__all__) - errors - NEVER_WRITTEN:
        assert re.search(rf"\b{name}\b", shown), f"no page shows a program that uses {name}"


@pytest.mark.parametrize("command", ["chanlink", "rexec"])
def test_every_command_is_shown_at_work(command: str, installed: Path) -> None:
    run = subprocess.run([installed / "bin" / command, "--help"], capture_output=True, text=True, check=True)
    subcommands = re.findall(r"^    (\w+)\b", run.stdout, re.MULTILINE)
    assert len(subcommands) > 5
    shown = "\n".join(block.text for page in FOR_READERS for block in blocks_of(page) if block.language == "sh")
    for one in subcommands:
        assert re.search(rf"\b{command} {one}\b", shown), f"no page has a block with {command} {one}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_other_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


PROMISES = [
    pytest.param(ROOT / "docs" / "explanation" / f"{name}.md", least, id=name)
    for name, least in (
        ("promises", 80),
        ("security", 100),
        ("rexec-comparison", 40),
        ("work-queue", 25),
        ("authority", 15),
    )
]
TESTS = {
    path.relative_to(ROOT / "tests").with_suffix("").as_posix(): set(re.findall(r"def (test_\w+)", path.read_text()))
    for path in (ROOT / "tests").rglob("test_*.py")
}


RELAYS = re.compile(
    r"^@(?:every_route|every_session|both_relays|.*relay).*\n(?:@.*\n)*async def (test_\w+)", re.MULTILINE
)


def through_relays(file: str) -> set[str]:
    """The tests of a file that run over relays, too."""
    found = RELAYS.findall((ROOT / "tests" / f"{file}.py").read_text())
    return TESTS[file] if "relay" in file else set(found)


def test_every_promise_has_a_test_through_relays() -> None:
    """As the page says."""
    text = (ROOT / "docs" / "explanation" / "promises.md").read_text()
    rows = re.findall(r"^\| ([^|]*) \| (.*`test_.*) \|$", text, re.MULTILINE)
    assert len(rows) > 40
    for promise, cell in rows:
        files = [word for word in re.findall(r"`([\w/]+)`", cell) if word in TESTS]
        named = set(re.findall(r"`(test_\w+)`", cell))
        assert named & set().union(*map(through_relays, files)), promise


@pytest.mark.parametrize(("page", "least"), PROMISES)
def test_every_promise_names_tests_that_exist(page: Path, least: int) -> None:
    """A cell of the last column has lines of `file`: `test`, `test`."""
    named = 0
    for cell in re.findall(r"\| ([^|]*) \|$", page.read_text(), re.MULTILINE):
        file = ""
        for word in re.findall(r"`([\w/]+)`", cell):
            if word in TESTS:
                file = word
            else:
                named += 1
                assert word in TESTS.get(file, set()), f"{file}: {word}"
    assert named > least


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sources_that_pages_name_are_there(page: Path) -> None:
    saved = {block.file for block in blocks_of(page)}
    for name in re.findall(r"`([\w/]+\.py)`", page.read_text()):
        assert name in saved or any((folder / name).exists() for folder in (ROOT, ROOT / "chanlink", page.parent)), name


def test_pages_and_sections_that_sources_name_are_there() -> None:
    protocol = (ROOT / "docs" / "reference" / "protocol.md").read_text()
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", protocol, re.MULTILINE))
    for source in (path for folder in ("chanlink", "examples", "tests") for path in (ROOT / folder).rglob("*.py")):
        text = source.read_text()
        for page in re.findall(r"\bdocs/[\w/.-]+\.md\b", text):
            assert (ROOT / page).exists(), f"{source} names {page}"
        for named in re.findall(r"\b[Pp]rotocol,? (?:sections? )?((?:\d+(?:\.\d+)?(?:, | and | to )?)+)", text):
            assert set(re.findall(r"\d+(?:\.\d+)?", named)) <= sections, f"{source} names section {named}"


def test_the_first_line_of_a_source_says_what_it_is() -> None:
    """In one line, so that the heads of all files can be read as a table of contents."""
    sources = [path for folder in ("chanlink", "examples/rexec", "tests") for path in (ROOT / folder).rglob("*.py")]
    for source in sources:
        docstring = ast.get_docstring(ast.parse(source.read_text())) or ""
        if docstring or source.name != "__init__.py":
            assert docstring.partition("\n")[0].endswith((".", ":", "?")), source
