"""The site's navigation is what the index pages (README.md) list, in that order; the topmost is its first page.

So a new page needs its line in docs/README.md and nothing else, and one who reads the pages on a forge finds the same
order. A heading of an index page with links below it is a part of the navigation, and so is a heading below that.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
NO_PARTS = 2
"""The status of scriv when there is nothing to gather."""

HEADING = re.compile(r"^(##+) (.+)\n", re.MULTILINE)
PAGE = re.compile(r"^- \[[^\]]+\]\((?P<page>[\w/.-]+)\.md\)", re.MULTILINE)
"""An entry of a list that begins with a link to a page."""
TREE = """
```{{toctree}}
:hidden:
{options}
{pages}
```
"""


def add_trees(app: Sphinx, name: str, text: list[str]) -> None:
    """Give an index page a hidden table of contents for each of its parts."""
    if Path(name).name != "README":
        return
    for caption, body in parts_of(text[0]):
        if pages := PAGE.findall(body):
            text[0] += TREE.format(options=f":caption: {caption}\n" if caption else "", pages="\n".join(pages))


def parts_of(text: str) -> Iterator[tuple[str, str]]:
    """The name of each part of a page, and what stands in it; what stands above all headings has no name."""
    before, *rest = HEADING.split(text)
    yield "", before
    outer = ""
    for level, title, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        outer = title if level == "##" else outer
        yield title if level == "##" else f"{outer}: {title.lower()}", body


def add_news(app: Sphinx, name: str, text: list[str]) -> None:
    """Give the page of news what the next version will say, and what the versions have said that are released."""
    if name == "news":
        text[0] += f"\n## The next version\n\n{coming()}\n{released()}"


def coming() -> str:
    """The parts of the change log, as they will be gathered."""
    gathered = subprocess.run(
        [sys.executable, "-m", "scriv", "print"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert gathered.returncode in (0, NO_PARTS), gathered
    return gathered.stdout.replace("](../", "](")


def released() -> str:
    _, _, versions = (ROOT / "CHANGELOG.md").read_text().partition("<!-- scriv-insert-here -->")
    return versions.replace("](docs/", "](")


def first_page(app: Sphinx, problem: Exception | None) -> None:
    """Servers and browsers look for a page of this name."""
    if problem is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("source-read", add_trees)
    app.connect("source-read", add_news)
    app.connect("build-finished", first_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
