"""The features that this side has, and the page that says what they are."""

import re
from pathlib import Path

from chanlink import features

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "protocol.md").read_text()


def test_the_page_has_each_feature_and_no_other() -> None:
    table = PAGE.partition("| feature | meaning |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == features.FEATURES


def test_each_has_a_name_of_its_own() -> None:
    named = {value for name, value in vars(features).items() if name.isupper() and isinstance(value, str)}
    assert named == features.FEATURES
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in named)
