"""Links from a page to a file or folder of the repository lead to a page of the site that shows it.

On a forge such a link (``../../chanlink/limits.py``) leads to the file itself. The site has to work without a network
and wherever it lies, so it has a page for each file that a page links to, and one for each folder, with what is in it.
"""

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]
FOLDER = "sources"
"""Of the site: where these pages are."""
LONGEST = 200_000
"""Characters; a longer file is no reading matter, and is shown up to here."""


class LinksToSources(SphinxTransform):
    """Note which files are linked to; it runs before Sphinx would offer them as downloads."""

    default_priority = 400

    def apply(self, **_: object) -> None:
        for kind in (addnodes.download_reference, addnodes.pending_xref):  # as MyST takes files, and folders
            for link in list(self.document.findall(kind)):
                if link.get("reftype") == "myst" and (name := self._in_repository(link)):
                    noted(self.env).setdefault(self.env.docname, set()).add(name)
                    page = addnodes.pending_xref(
                        refdomain="", reftype="source", reftarget=name, refdoc=self.env.docname, refexplicit=True
                    )
                    page += link.children
                    link.replace_self(page)

    def _in_repository(self, link: nodes.Element) -> str:
        """The path of what a link leads to, if it is none of the pages."""
        target = link["reftarget"] + (".md" if link.get("refdomain") == "doc" else "")
        path = (Path(self.env.doc2path(self.env.docname)).parent / target).resolve()
        outside = path.is_relative_to(ROOT) and not path.is_relative_to(self.env.srcdir)
        return path.relative_to(ROOT).as_posix() if outside and path.exists() else ""


def noted(env: BuildEnvironment) -> dict[str, set[str]]:
    """For each page the files that it links to; kept with what Sphinx knows of the pages between two builds."""
    files: dict[str, set[str]] = vars(env).setdefault("chanlink_linked_sources", {})
    return files


def forget(app: Sphinx, env: BuildEnvironment, name: str) -> None:
    noted(env).pop(name, None)


def merge(app: Sphinx, env: BuildEnvironment, names: set[str], other: BuildEnvironment) -> None:
    noted(env).update({name: files for name, files in noted(other).items() if name in names})


def lead_to_page(
    app: Sphinx, env: BuildEnvironment, link: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    if link["reftype"] != "source":
        return None
    target = app.builder.get_relative_uri(link["refdoc"], f"{FOLDER}/{link['reftarget']}")
    return nodes.reference("", "", *link.children, internal=True, refuri=target)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, object], str]]:
    for name in sorted(set().union(*noted(app.env).values())):
        path = ROOT / name
        title = f"<h1><code>{name}</code></h1>\n"
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if file.is_file()]
            body = "\n".join(f"<h2><code>{file.name}</code></h2>\n{shown(file)}" for file in files)
        else:
            body = shown(path)
        yield f"{FOLDER}/{name}", {"title": name, "body": title + body, "parents": []}, "page.html"


def shown(file: Path) -> str:
    try:
        lexer = get_lexer_for_filename(file.name)
    except ClassNotFound:
        lexer = TextLexer()
    code: str = highlight(file.read_text()[:LONGEST], lexer, HtmlFormatter(cssclass="highlight"))
    return code


def setup(app: Sphinx) -> dict[str, object]:
    app.add_transform(LinksToSources)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("missing-reference", lead_to_page)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 2}
