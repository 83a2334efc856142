"""The graph as graphviz reads it, also with names that want to be something else."""

import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from chanlink.observing.graph.dot import dot
from chanlink.observing.graph.page import standalone
from chanlink.observing.graph.picture import Asked, picture
from tests.observing.graph.reports import Server, drawn, two_that_wait

HOSTILE = [
    "</svg><script>alert(1)</script>",
    '"]; evil [label="',
    "\\N\\G\\",
    "<b>bold</b>",
    "&lt;script&gt;",
    "\x1b[2J\u202e\n",
    "' onload='x",
]


def svg(text: str) -> str:
    if shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")
    drawing = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, check=True).stdout.decode()
    return standalone(drawing[drawing.index("<svg") :])


def hostile_server(name: str) -> Server:
    server = Server("a", 1)
    server.task(1, ("receive", name, "server", 1), name=name, place=f"{name}:1 in {name}", service=name, peer=name)
    server.end(name, "server", 1, 1, service=name)
    return server


def test_a_circle_is_red() -> None:
    text = dot(drawn(*two_that_wait()))
    assert text.count("class=stuck") == 2
    assert text.count("class=circle") == 4
    assert 'label="a1\\na.py:1"' not in text  # the function is told, too
    assert text.count('color="#c62828"') == 2 + 4 * 2  # with the words at the arrows
    root = ET.fromstring(svg(text))
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"tcp://a", "tcp://b", "a1", "b1", "sends"} <= set(words)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    server = hostile_server(name)
    found = picture([Asked(name, (server.report(), server.report()), ""), Asked("tcp://b", None, name)])
    drawing = svg(dot(found))
    root = ET.fromstring(drawing)
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds <= {"svg", "style", "g", "title", "polygon", "path", "text", "ellipse"}
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on") or "href" in key]
    words = "".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    if name.isprintable():
        assert name in words.replace("\N{NO-BREAK SPACE}", " ")


def test_an_older_server_and_one_that_is_not_there_are_shown_as_such() -> None:
    from chanlink.observing.graph.reading import read

    old = read([{"peer": "bob", "channels": []}], "tcp://a")
    text = dot(picture([Asked("tcp://a", (old, old), ""), Asked("tcp://b", None, "nobody listens there")]))
    assert "an older server: it tells of no tasks" in text
    assert "nobody listens there" in text
