"""What the documents say is true: their code runs, and their links lead somewhere."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_the_documents_runs_and_prints_what_it_says(block: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(block)
    run = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == re.findall(r"# prints: (.*)", block)


def test_there_is_code_to_run() -> None:
    assert any("README.md" in str(param.id) for param in BLOCKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_other_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


PROMISES = [
    pytest.param(ROOT / "docs" / "explanation" / f"{name}.md", least, id=name)
    for name, least in (("promises", 80), ("security", 100), ("comparison", 40))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sources_that_pages_name_are_there(page: Path) -> None:
    for name in re.findall(r"`([\w/]+\.py)`", page.read_text()):
        assert (ROOT / name).exists() or (ROOT / "chanlink" / name).exists(), name


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
