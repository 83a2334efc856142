"""Boxes and arrows, laid out by Graphviz and coloured by the page."""

import re
import shutil
import subprocess

INK = "#010203"
"""A colour of no meaning, which becomes that of the page's letters."""
HEAD = f"""
  graph [bgcolor=transparent, pad=0.05, nodesep=0.25, ranksep=0.35, fontname="sans-serif", fontsize=12]
  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=12, margin="0.14,0.07", height=0.3,
        color="#8a939c", fillcolor="#8a939c24", fontcolor="{INK}"]
  edge [fontname="sans-serif", fontsize=10.5, arrowsize=0.7, color="{INK}", fontcolor="{INK}"]
"""


def graph(body: str, *, scale: float = 1.15) -> str:
    """A picture of a graph in Graphviz' language. Raises `RuntimeError` when Graphviz is not there."""
    dot = shutil.which("dot")
    if dot is None:
        raise RuntimeError("the drawings need Graphviz: .ci/install installs it")
    source = f"digraph {{{HEAD}{body}}}"
    made = subprocess.run([dot, "-Tsvg"], input=source, capture_output=True, text=True, check=True).stdout
    return _for_a_page(made, scale)


def _for_a_page(svg: str, scale: float) -> str:
    """Without what is for files alone, in the colours of the page, and no wider than it."""
    svg = svg[svg.index("<svg") :]
    width = float(re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', svg)[1])  # type: ignore[index]
    svg = re.sub(
        r'<svg width="[^"]*" height="[^"]*"',
        f'<svg style="width: 100%; max-width: {width * scale:.0f}px"',
        svg,
        count=1,
    )
    svg = re.sub(r"<title>.*?</title>\n?|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    return svg.replace(INK, "currentColor").replace('font-family="sans-serif"', "")
