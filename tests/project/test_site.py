"""Every page of the documentation is one of the site's, which finds them by its index pages."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
INDEXES = [DOCS / "README.md", DOCS / "decisions" / "README.md", DOCS / "reference" / "api" / "README.md"]
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page != INDEXES[0] and page.parent.name != "changelog.d"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_is_listed_once(page: Path) -> None:
    """As the item of a list that begins with the link: these become the navigation (docs/extensions/navigation.py)."""
    listed = [
        (index.parent / found).resolve()
        for index in INDEXES
        for found in re.findall(r"^- \[[^\]]+\]\(([\w/.-]+\.md)\)", index.read_text(), re.MULTILINE)
    ]
    assert listed.count(page) == 1


@pytest.mark.parametrize("sheet", sorted((DOCS / "static").glob("*.css")), ids=lambda sheet: sheet.name)
def test_a_style_sheet_is_rule_after_rule(sheet: Path) -> None:
    """A browser says nothing about a brace that is missing, and takes the rules after it for parts of that one."""
    text = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL)
    assert not re.sub(r"[^{}]+\{[^{}]*\}", "", text).strip()
