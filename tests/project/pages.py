"""The pages of the site, and the blocks in them: which of them a reader can paste, save or run, and what they print.

| marked | what a reader does with it |
| --- | --- |
| `sh` | pastes it into a shell, after those above it |
| `python` | runs it as a program of its own |
| any, with a first line like `# greet.py` | saves it under that name, in the folder of the shell |
| `console` | reads it: it asks, or needs a second machine. What is typed has `$ ` in front |
| `text` and others | reads it |

A comment `# prints: some words` says what is printed.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
LANGUAGES = {"sh", "python", "console", "text", "toml", "ini", "json", "yaml", "dockerfile", "dot", "go"}
"""And what is in braces, which are directives of MyST."""

NAMED = re.compile(r"# ((?:[\w-]+/)*(?:[\w.-]+\.\w+|Dockerfile))")


class Block(NamedTuple):
    language: str
    """Empty if the block is not marked, or is indented in place of being fenced."""
    text: str
    line: int
    """Of the page, counted from 1."""

    @property
    def file(self) -> str:
        """The name under which a reader saves it, or nothing."""
        named = NAMED.fullmatch(self.text.partition("\n")[0])
        return named[1] if named and self.language not in ("sh", "console", "text") else ""

    @property
    def promises(self) -> list[str]:
        return re.findall(r"# prints: (.*)", self.text)


@cache
def blocks_of(page: Path) -> list[Block]:
    tokens = MarkdownIt().parse(page.read_text())
    found = (token for token in tokens if token.type in ("fence", "code_block"))
    return [Block(token.info.strip(), token.content, token.map[0] + 1) for token in found if token.map]


def pasted(page: Path) -> list[Block]:
    """What goes into a shell, or into files beside it, in its order; nothing if nothing is for a shell."""
    blocks = [block for block in blocks_of(page) if block.language == "sh" or block.file]
    return blocks if any(block.language == "sh" for block in blocks) else []


def programs(page: Path) -> list[Block]:
    """What runs by itself. Most pages have no such thing, and need not be read block by block."""
    blocks = blocks_of(page) if "python" in page.read_text() else []
    return [block for block in blocks if block.language == "python" and not block.file]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


def write_programs(page: Path, folder: Path) -> list[Path]:
    """Write its programs and saved modules as files that can be checked together with those of all other pages.

    So each has the page's name in its own, and those of a page import each other by that.
    """
    prefix = re.sub(r"\W", "_", name_of(page))
    python = [block for block in blocks_of(page) if block.language == "python"]
    saved = {Path(block.file).stem for block in python if block.file}
    paths = []
    for block in python:
        text = block.text
        for name in saved:
            text = re.sub(rf"^from {name} import", f"from {prefix}__{name} import", text, flags=re.MULTILINE)
            text = re.sub(rf"^import {name}$", f"import {prefix}__{name} as {name}", text, flags=re.MULTILINE)
        path = folder / f"{prefix}__{Path(block.file).stem or block.line}.py"
        path.write_text(text)
        paths.append(path)
    return paths


def counts() -> Iterator[tuple[str, int]]:
    """How many blocks of each sort the tests run."""
    yield "pasted", sum(block.language == "sh" for page in PAGES for block in pasted(page))
    yield "saved", sum(bool(block.file) for page in PAGES for block in pasted(page))
    yield "programs", sum(len(programs(page)) for page in PAGES)
    yield "promised lines", sum(len(block.promises) for page in PAGES for block in blocks_of(page))
