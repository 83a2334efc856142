"""The parts of the change log can be gathered, and lead somewhere from where they will be then."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOG = ROOT / "CHANGELOG.md"
PARTS = [path for path in sorted((ROOT / "docs" / "changelog.d").iterdir()) if path.name != "README.md"]
"""There are none in a version that is being released."""
CATEGORIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scriv"]["categories"]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.stem)
def test_a_part_has_headings_that_the_log_has(part: Path) -> None:
    """One without any is sorted by whoever releases, who is told: tests/packages/release.py."""
    assert part.suffix == ".md"
    assert re.match(r"\d{4}-", part.name), "the number of the issue, so that the parts stay in their order"
    headings = re.findall(r"^#.*", part.read_text(), re.MULTILINE)
    assert set(headings) <= {f"### {category}" for category in CATEGORIES}
    assert part.read_text().startswith("### "), "what is above all headings gets into none of the lists"


def test_links_in_the_log_lead_somewhere() -> None:
    links = [*links_of(LOG), *(link for part in PARTS for link in links_of(part))]
    assert len(links) > 5
    for target in links:
        assert target.exists(), target


def links_of(page: Path) -> list[Path]:
    """Those to files."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    return [page.parent / target for target in targets if "://" not in target]
