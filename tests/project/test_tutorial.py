"""The programs of the tutorial are those on its pages, and its pages run all of them."""

import re
from pathlib import Path

import pytest

from .pages import ROOT, blocks_of

PARTS = [
    pytest.param(page, ROOT / "examples" / "tutorial" / page.stem, id=page.stem)
    for page in sorted((ROOT / "docs" / "tutorial").glob("*.md"))
]
each_part = pytest.mark.parametrize(("page", "folder"), PARTS)


def test_there_are_four_parts() -> None:
    assert [param.id[0] for param in PARTS if param.id] == ["1", "2", "3", "4"]
    assert {folder.name for folder in (ROOT / "examples" / "tutorial").iterdir()} == {param.id for param in PARTS}


@each_part
def test_each_program_stands_on_its_page_and_in_its_folder(page: Path, folder: Path) -> None:
    on_page = {block.file: block.text for block in blocks_of(page) if block.file}
    assert on_page == {path.name: path.read_text() for path in folder.glob("*.py")}


@each_part
def test_a_page_runs_each_of_its_programs(page: Path, folder: Path) -> None:
    """Or another one imports it."""
    typed = "".join(block.text for block in blocks_of(page) if block.language == "sh")
    programs = {path.stem: path.read_text() for path in folder.glob("*.py")}
    imported = set(re.findall(r"^from (\w+) import", "".join(programs.values()), re.MULTILINE))
    assert set(programs) <= imported | set(re.findall(r"python (\w+)\.py", typed))


@each_part
def test_a_page_leads_to_the_folder_of_its_programs(page: Path, folder: Path) -> None:
    assert f"(../../examples/tutorial/{folder.name})" in page.read_text()
