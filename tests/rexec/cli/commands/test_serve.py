"""``rexec serve``: what it refuses before it serves."""

from pathlib import Path

import pytest

from examples.rexec.cli.main import main


def refused(*words: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *map(str, words)])
    assert caught.value.code == 255
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_the_root_of_copies_has_to_be_there(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    if kind == "a file":
        root.touch()
    assert f"--copy-root {root} is no folder" in refused("--copy-root", root, capsys=capsys)


def test_seconds_are_a_number_within_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    assert "from 0 to 3600" in refused("--grace", "4000", capsys=capsys)
    assert "from 0 to 2592000" in refused("--stopped", "nan", capsys=capsys)
