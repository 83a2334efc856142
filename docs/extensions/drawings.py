"""Drawings, made when the site is built: a page says where one stands and what it shows, in a comment.

    <!-- drawing: layers: each room stands on those below it -->

On a forge such a comment is not seen, and what it shows stands in the text beside it. On the site it becomes a picture
inside the page, as wide as it needs or as there is room, in the colours of the page, by day and by night; the text
behind the name is for those who don't see it.
"""

import html
import re

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from docs.drawings.pictures import PICTURES

COMMENT = re.compile(r"^<!-- drawing: (?P<name>[\w-]+): (?P<text>[^>]+?) -->$", re.MULTILINE)


def find(app: Sphinx, name: str, text: list[str]) -> None:
    """Comments in a page become directives."""
    text[0] = COMMENT.sub(
        lambda found: f"```{{drawing}} {found['name']}\n{' '.join(found['text'].split())}\n```", text[0]
    )


class Drawing(Directive):
    """A picture in a page: its name, and in words what it shows."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        draw = PICTURES.get(self.arguments[0])
        if draw is None:
            raise self.error(f"there is no drawing {self.arguments[0]!r}, only {', '.join(PICTURES)}")
        words = html.escape(" ".join(self.content), quote=True)
        picture = draw().replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
        return [nodes.raw("", f'<div class="drawing">{picture}</div>', format="html")]


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("source-read", find)
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
