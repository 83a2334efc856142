"""Pages of the site as pictures, as a phone and a desk show them.

`python -m tests.site.pictures build/docs build/pictures` draws each page in Chromium, 1,280 and 390
pixels wide, light and dark, and complains of what nobody should see:
a page that scrolls sideways on a phone, an error in the console, a request that leaves the site, a search that finds
nothing. `make docs-pictures` does both; where Chromium is missing, that is said and nothing fails.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu"]
"""It shows nothing but our own pages, and often runs as root, in a container."""
SIZES = {1280: 900, 390: 844}
"""Width and height of the window, in pixels."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LEFT_OUT = ("_modules", "_static", "sources", "genindex.html", "search.html", "index.html")
WIDE = """
() => [...document.querySelectorAll('article *')]
    .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .filter(one => !one.closest('.table-wrapper, .highlight, pre, .sig, [class*=scroll]'))
    .slice(0, 3).map(one => one.outerHTML.slice(0, 120))
"""
"""What sticks out of the window, and does not scroll by itself."""
SEARCHED = "pipe"


def pages_of(site: Path, wanted: list[str]) -> list[str]:
    """The pages that somebody has written; with `wanted`, those whose name begins so."""
    names = [file.relative_to(site).as_posix() for file in sorted(site.rglob("*.html"))]
    names = [name for name in names if not name.startswith(LEFT_OUT)]
    return [name for name in names if not wanted or name.startswith(tuple(wanted))]


def look_at(browser: Browser, site: Path, names: list[str], pictures: Path) -> Iterator[str]:
    """Draw the pages; gives what is wrong with them."""
    for (width, height), scheme in product(SIZES.items(), SCHEMES):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        said: list[str] = []
        listen(page, said)
        for name in names:
            page.goto((site / name).as_uri())
            picture = pictures / f"{name.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.png"
            page.screenshot(path=picture, full_page=True)
            yield from (f"{name}, {width} pixels: {problem}" for problem in [*sideways(page, width), *said])
            said.clear()
        context.close()


def listen(page: Page, said: list[str]) -> None:
    page.on("console", lambda message: said.extend(errors_of(message)))
    page.on("request", lambda request: said.extend(leaving(request)))


def errors_of(message: ConsoleMessage) -> list[str]:
    return [f"in the console: {message.text}"] if message.type == "error" else []


def leaving(request: Request) -> list[str]:
    return [] if request.url.startswith(("file:", "data:", "blob:")) else [f"it asks for {request.url}"]


def sideways(page: Page, width: int) -> Iterator[str]:
    if (found := page.evaluate("document.documentElement.scrollWidth")) > width:
        yield f"it scrolls sideways, it is {found} wide: {'; '.join(page.evaluate(WIDE))}"


def search(browser: Browser, site: Path) -> Iterator[str]:
    """The site's own search, which needs no server."""
    page = browser.new_page()
    page.goto(f"{(site / 'search.html').as_uri()}?q={SEARCHED}")
    page.wait_for_selector("#search-results li", timeout=30_000)
    if not any("pipe" in found for found in page.locator("#search-results li").all_inner_texts()):
        yield f"the search for {SEARCHED} finds nothing"
    page.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.site.pictures", description="Draw the pages of the site.")
    parser.add_argument("site", type=Path, help="the folder that `make docs` has made")
    parser.add_argument("pictures", type=Path, help="where the pictures go")
    parser.add_argument("pages", nargs="*", help="those whose path begins so; all of them if none is given")
    options = parser.parse_args(arguments)
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print("no pictures: chromium is not installed (.ci/install)")
        return 0
    site = options.site.resolve()
    names = pages_of(site, options.pages)
    options.pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        problems = [*look_at(browser, site, names, options.pictures), *search(browser, site)]
        browser.close()
    print(*problems, sep="\n", end="\n" if problems else "")
    print(
        f"{len(names)} pages in {len(SIZES) * len(SCHEMES)} pictures each: {options.pictures}; {len(problems)} problems"
    )
    return 1 if problems or not names else 0


if __name__ == "__main__":
    sys.exit(main())
