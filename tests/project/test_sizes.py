"""What has grown is asked about, unless it says why it is whole; and nothing fails for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

from .sizes import ATTRIBUTES, CLASS, FILE, FUNCTION, TEST_FILE, questions


def function(lines: int, head: str = "", above: str = "") -> str:
    return f"{above}def grown():\n{head}" + "    call()\n" * (lines - 1)


def cls(attributes: int = 0, lines: int = 0, head: str = "") -> str:
    body = "".join(f"        self.name{number} = {number}\n" for number in range(attributes))
    return f"class Grown:\n{head}    def __init__(self):\n{body}        pass\n" + "    # more\n" * lines + "    x = 1\n"


def asked(source: str, is_test: bool = False) -> list[str]:
    return [question for _, question in questions(source, is_test)]


def test_a_long_function_is_asked_about() -> None:
    assert asked(function(FUNCTION)) == []
    assert asked(function(FUNCTION + 1)) == [f"grown: a function of {FUNCTION + 1} lines, over {FUNCTION}"]
    assert len(asked("async " + function(FUNCTION + 1))) == 1


def test_a_docstring_does_not_count() -> None:
    assert asked(function(FUNCTION, '    """What it does.\n\n    And why.\n    """\n')) == []


def test_a_class_is_asked_about_for_its_attributes_and_its_lines() -> None:
    assert asked(cls(attributes=ATTRIBUTES, lines=CLASS - ATTRIBUTES - 10)) == []
    assert asked(cls(attributes=ATTRIBUTES + 1))[0].startswith("Grown: a class with 21 attributes")
    assert asked(cls(lines=CLASS))[0].startswith("Grown: a class of")


def test_fields_of_a_dataclass_are_attributes() -> None:
    fields = "".join(f"    name{number}: int\n" for number in range(ATTRIBUTES + 1))
    assert len(asked(f"@dataclass\nclass Grown:\n{fields}")) == 1


def test_a_long_file_is_asked_about() -> None:
    assert asked("x = 1\n" * FILE) == []
    assert asked("x = 1\n" * (FILE + 1)) == [f"a file of {FILE + 1} lines, over {FILE}"]


def test_of_tests_only_the_file_counts() -> None:
    assert asked(function(FUNCTION + 1), is_test=True) == []
    assert asked("x = 1\n" * TEST_FILE, is_test=True) == []
    assert len(asked("x = 1\n" * (TEST_FILE + 1), is_test=True)) == 1


@pytest.mark.parametrize(
    "source",
    [
        function(FUNCTION + 1, "    # Whole: read from top to bottom\n"),
        function(FUNCTION + 1, '    """Whole: read from top to bottom."""\n'),
        function(FUNCTION + 1, '    """What it does.\n\n    Whole: read from top to bottom.\n    """\n'),
        function(FUNCTION + 1, above="# Whole: read from top to bottom\n@decorated\n"),
        cls(attributes=ATTRIBUTES + 1, head='    """Grown.\n\n    Whole: one job.\n    """\n'),
        '"""A file.\n\nWhole: one job.\n"""\n' + "x = 1\n" * FILE,
        "# Whole: one job.\n\n" + "x = 1\n" * FILE,
    ],
)
def test_what_says_why_it_is_whole_is_not(source: str) -> None:
    assert asked(source) == []


def test_an_answer_needs_a_reason() -> None:
    assert len(asked(function(FUNCTION + 1, "    # Whole:\n"))) == 1


def test_an_answer_is_for_one_thing() -> None:
    """That of a function does not answer for its class, nor that of a class for its file."""
    inner = '    def one(self):\n        """Whole: one job."""\n'
    assert len(asked(cls(attributes=ATTRIBUTES + 1, head=inner))) == 1
    answered = cls(attributes=ATTRIBUTES + 1, head="    # Whole: one job\n\n")
    assert asked(answered + "x = 1\n" * FILE) == [f"a file of {FILE + answered.count(chr(10))} lines, over {FILE}"]


@pytest.mark.slow
def test_questions_are_printed_and_nothing_fails(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "tests.project.sizes", "chanlink/wire"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (run.returncode, run.stderr) == (0, "")
