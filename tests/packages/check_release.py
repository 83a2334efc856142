"""A release is tried in a clone."""

import subprocess
from pathlib import Path

import pytest

from .environments import ROOT
from .release import PARTS, TAG_MESSAGE, VERSION, VERSIONED, Refused, release


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", tmp_path / "clone"], check=True)
    parts = tmp_path / "clone" / PARTS
    for path in parts.glob("[0-9]*.md"):
        path.unlink()
    (parts / "0001-thing.md").write_text("### Fixed\n\n- A thing, [here](../README.md).\n")
    (parts / "0002-other.md").write_text("### Added\n\n- Another one.\n\n### Fixed\n\n- That, too.\n")
    commit(tmp_path / "clone")
    return tmp_path / "clone"


def commit(clone: Path) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.invalid"]
    subprocess.run(["git", "add", "--all"], cwd=clone, check=True)
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "a change"], cwd=clone, check=True)


def test_a_release_has_its_version_and_its_news_and_keeps_no_parts(clone: Path) -> None:
    before = (clone / "CHANGELOG.md").read_text()
    release(clone, "99.1.0")
    for folder in VERSIONED:
        version = VERSION.search((clone / folder / "__init__.py").read_text())
        assert version is not None
        assert version[2] == "99.1.0"
    assert [path.name for path in (clone / PARTS).iterdir()] == ["README.md"]  # which keeps the folder in git
    log = (clone / "CHANGELOG.md").read_text()
    assert log.startswith(before.partition("<!--")[0])
    assert log.index("## 99.1.0 (") < log.index("- A thing, [here](docs/README.md).") < log.index("## 0.1.0 (")
    message = (clone / TAG_MESSAGE).read_text()
    assert message == (
        "chanlink 99.1.0\n\n### Added\n\n- Another one.\n\n"
        "### Fixed\n\n- A thing, [here](docs/README.md).\n\n- That, too.\n"
    )


@pytest.mark.parametrize("version", ["", "new", "v99.0", "99.0.dev1", "99.0+here", "0.0.1", "99.0\n"])
def test_what_is_no_version_to_release_is_refused(version: str, clone: Path) -> None:
    with pytest.raises(Refused, match="version"):
        release(clone, version)
    assert not subprocess.check_output(["git", "status", "--porcelain"], cwd=clone)


def test_a_tree_with_changes_is_refused(clone: Path) -> None:
    (clone / "README.md").write_text("other")
    with pytest.raises(Refused, match="not committed"):
        release(clone, "99.0")


def test_a_part_of_the_log_that_does_not_say_what_it_is_is_refused(clone: Path) -> None:
    (clone / PARTS / "9998-no-heading.md").write_text("- Something.\n")
    commit(clone)
    with pytest.raises(Refused, match=r"9998-no-heading\.md"):
        release(clone, "99.0")
