"""Long names in tables (of tests, files, classes) break between their words, and elsewhere only if they have to."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

LONG = 15
"""Characters; what is shorter stays whole."""


class BreakableNames(SphinxPostTransform):
    default_priority = 900
    formats = ("html",)

    def run(self, **_: object) -> None:
        for entry in self.document.findall(nodes.entry):
            for text in list(entry.findall(nodes.Text)):
                if isinstance(text.parent, nodes.literal) and len(text) > LONG:
                    text.parent.replace(text, self._breakable(text))

    def _breakable(self, text: str) -> list[nodes.Node]:
        parts = re.split(r"(?<=[_/.(])(?=\w)|(?<=[a-z])(?=[A-Z])", text)
        breaks: list[nodes.Node] = [nodes.Text(parts[0])]
        for part in parts[1:]:
            breaks += [nodes.raw("", "<wbr>", format="html"), nodes.Text(part)]
        return breaks


def setup(app: Sphinx) -> dict[str, object]:
    app.add_post_transform(BreakableNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
