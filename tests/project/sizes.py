"""Questions about what has grown: ``python -m tests.project.sizes [PATH ...]``. Nothing fails for them.

A size is a sign to look at, not a limit: a class with many attributes may do two things, a long function may have parts
with names of their own. Where something is whole although it is long, it says so, in its docstring or in a comment, in
it or right above it::

    # Whole: one table of states, which is read from top to bottom

Nothing is folded to fit a number.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from .shape import attributes_in

ROOT = Path(__file__).parents[2]
ATTRIBUTES, CLASS, FUNCTION, FILE, TEST_FILE = 20, 250, 40, 400, 800
WHOLE = re.compile(r"^[\s#]*Whole: \S", re.MULTILINE)
Part = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def questions(source: str, is_test: bool = False) -> Iterator[tuple[int, str]]:
    """Lines, and what is to be asked about what stands there. Of tests only the file counts."""
    tree = ast.parse(source)
    parts = [node for node in ast.walk(tree) if isinstance(node, Part)]
    answered = {_innermost(parts, source.splitlines(), line) for line in _answers(source)}
    length, limit = len(source.splitlines()), TEST_FILE if is_test else FILE
    if length > limit and None not in answered:
        yield 1, f"a file of {length} lines, over {limit}"
    for part in parts if not is_test else []:
        if part not in answered:
            yield from ((part.lineno, f"{part.name}: {size}") for size in _sizes(part))


def _sizes(part: Part) -> Iterator[str]:
    lines = _last_line(part) - part.lineno + 1
    if isinstance(part, ast.ClassDef):
        if lines > CLASS:
            yield f"a class of {lines} lines, over {CLASS}"
        if (count := len(attributes_in(part))) > ATTRIBUTES:
            yield f"a class with {count} attributes, over {ATTRIBUTES}"
    elif (lines := lines - _docstring_lines(part)) > FUNCTION:
        yield f"a function of {lines} lines, over {FUNCTION}"


def _docstring_lines(part: Part) -> int:
    first = part.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def _answers(source: str) -> Iterator[int]:
    """The lines of comments and docstrings that say ``Whole:``."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for match in WHOLE.finditer(token.string.replace('"""', "   ")):
                yield token.start[0] + token.string.count("\n", 0, match.end())


def _innermost(parts: list[Part], lines: list[str], line: int) -> Part | None:
    """The class or function that a line belongs to, whose comments above it count, too; None for the file."""
    around = [part for part in parts if _first_line(part, lines) <= line <= _last_line(part)]
    return max(around, key=lambda part: part.lineno, default=None)


def _first_line(part: Part, lines: list[str]) -> int:
    """Where its comments and decorators begin."""
    first = min([part.lineno, *(decorator.lineno for decorator in part.decorator_list)])
    while first > 1 and lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return first


def _last_line(part: Part) -> int:
    return part.end_lineno or part.lineno


def main(paths: list[str]) -> None:
    count = 0
    for folder in [Path(path) for path in paths] or [ROOT / "chanlink", ROOT / "examples", ROOT / "tests"]:
        for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
            shown = file.resolve().relative_to(ROOT)
            for line, question in questions(file.read_text(), shown.parts[0] == "tests"):
                print(f"{shown}:{line}: {question}: is it one thing?")
                count += 1
    if count:
        print(f"{count} to answer: by a cut, or by a line `Whole: ...` that says why it is whole")


if __name__ == "__main__":
    main(sys.argv[1:])
