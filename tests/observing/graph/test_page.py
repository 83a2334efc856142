"""The page around the picture loads nothing, and says in words what is wrong."""

from html.parser import HTMLParser

import pytest

from chanlink.observing.graph.page import page, standalone, summary
from chanlink.observing.graph.picture import Asked, picture
from chanlink.observing.graph.reading import read
from tests.observing.graph.reports import drawn, two_that_wait
from tests.observing.graph.test_dot import HOSTILE, hostile_server

SVG = '<svg width="1pt" xmlns="http://www.w3.org/2000/svg">\n<g/></svg>'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_deadlock_in_words() -> None:
    (line,) = summary(drawn(*two_that_wait()))
    assert line.startswith("deadlock: a1 of tcp://a (a.py:1 in run) and b1 of tcp://b")
    assert line.endswith(" wait for each other")
    assert summary(drawn()) == ["no deadlock"]


def test_what_is_not_known_stands_below() -> None:
    old = read([{"peer": "bob", "channels": []}], "tcp://a")
    found = picture([Asked("tcp://a", (old, old), ""), Asked("tcp://b", None, "nobody listens there")])
    assert summary(found) == [
        "no deadlock",
        "tcp://a: an older server: it tells of no tasks",
        "tcp://b: nobody listens there",
    ]


def test_others_that_wait_for_it_are_counted() -> None:
    a, b = two_that_wait()
    a.task(2, ("receive", "", "receiver", 7))
    a.pipe(7, sender=1, receiver=2)
    assert summary(drawn(a, b))[1] == "1 more task waits for a deadlock"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_here_too(name: str) -> None:
    server = hostile_server(name)
    found = picture([Asked(name, (server.report(), server.report()), ""), Asked("tcp://b", None, name)])
    tags = Tags()
    tags.feed(page(found, SVG, when="now", refresh=2.0))
    assert {tag for tag, _ in tags.found} - {"br"} == {
        "html", "head", "meta", "link", "title", "style", "body", "h1", "p", "div", "svg", "g",
    }  # fmt: skip
    links = [value for _, attributes in tags.found for key, value in attributes.items() if key in ("src", "href")]
    assert [link for link in links if link is None or not link.startswith("data:")] == []


def test_it_asks_for_itself_again_if_it_is_served() -> None:
    assert '<meta http-equiv="refresh" content="2">' in page(drawn(), SVG, when="now", refresh=2.0)
    assert "refresh" not in page(drawn(), SVG, when="now")


def test_the_style_stands_in_the_picture() -> None:
    assert standalone(SVG).index("<style>") > standalone(SVG).index("<svg")
