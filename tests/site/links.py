"""Do the links of the site lead somewhere? `python -m tests.site.links build/docs`, which is a part of `make docs`.

Links within the site are followed to the file and the anchor. Those that leave it are only counted, or listed with
`--outside`, since a build must not depend on the machines of others.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LEAVES = ("http", "https", "mailto")
REQUIRED = {"href", "src"}
"""Attributes that name another file."""
NOT_WRITTEN = {"_static", "_modules", "_images"}
"""Folders whose pages the theme and Sphinx have made; they are linked to, but nobody has written links there."""


@dataclass
class Page(HTMLParser):
    """What a page offers and what it wants."""

    file: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text())

    def __hash__(self) -> int:
        return hash(self.file)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        if tag != "link" or given.get("rel") == "stylesheet":  # the others are for machines
            self.links += [given[name] for name in REQUIRED if name in given]


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.pages = {file: Page(file) for file in sorted(self.folder.rglob("*.html"))}

    def written(self) -> Iterator[Page]:
        for page in self.pages.values():
            if page.file.relative_to(self.folder).parts[0] not in NOT_WRITTEN:
                yield page

    def outside(self) -> set[str]:
        return {link for page in self.written() for link in page.links if urlsplit(link).scheme in LEAVES}

    def broken(self) -> list[str]:
        """A line for each link that leads nowhere."""
        return [
            f"{page.file.relative_to(self.folder)}: {link}: {problem}"
            for page in self.written()
            for link in dict.fromkeys(page.links)
            if (problem := self._problem(page, link))
        ]

    def _problem(self, page: Page, link: str) -> str:
        parts = urlsplit(link)
        if parts.scheme in (*LEAVES, "data"):
            return ""
        if parts.scheme or parts.netloc or parts.path.startswith("/"):
            return "neither a page of the site nor an address"
        target = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file
        if not target.is_file():
            return "no such file"
        if parts.fragment and target in self.pages and unquote(parts.fragment) not in self.pages[target].anchors:
            return "no such place in that page"
        return ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.site.links", description="Follow the links of the site.")
    parser.add_argument("site", type=Path, help="the folder that `make docs` has made")
    parser.add_argument("--outside", action="store_true", help="list the links that leave the site")
    options = parser.parse_args(arguments)
    site = Site(options.site)
    broken, outside = site.broken(), sorted(site.outside())
    print(*(broken + (outside if options.outside else [])), sep="\n", end="\n" if broken or options.outside else "")
    links = sum(len(page.links) for page in site.written())
    print(f"{len(site.pages)} pages, {links} links, {len(broken)} broken; {len(outside)} addresses outside, not tried")
    return 1 if broken or not site.pages else 0


if __name__ == "__main__":
    sys.exit(main())
