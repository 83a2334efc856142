"""The link checker finds what leads nowhere, and nothing else."""

from pathlib import Path

import pytest

from tests.site.links import main

OTHER = '<h2 id="there">There</h2><img src="_static/a.svg">'


def site(folder: Path, body: str) -> str:
    (folder / "sub").mkdir()
    (folder / "_static").mkdir()
    (folder / "_static" / "a.svg").write_text("<svg/>")
    (folder / "other.html").write_text(OTHER)
    (folder / "sub" / "page.html").write_text(f'<h1 id="top">Page</h1>{body}')
    return str(folder)


@pytest.mark.parametrize(
    "link",
    ["#top", "../other.html", "../other.html#there", "page.html#top", "../_static/a.svg", "https://example.org/x#y"],
)
def test_links_that_lead_somewhere_are_none_of_its_business(tmp_path: Path, link: str) -> None:
    assert main([site(tmp_path, f'<a href="{link}">x</a>')]) == 0


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("#bottom", "no such place"),
        ("../other.html#here", "no such place"),
        ("other.html", "no such file"),
        ("../missing.md", "no such file"),
        ("/other.html", "neither"),
        ("file:///etc/passwd", "neither"),
    ],
)
def test_links_that_lead_nowhere_are_named_with_their_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], link: str, problem: str
) -> None:
    assert main([site(tmp_path, f'<a href="{link}">x</a>')]) == 1
    assert f"sub/page.html: {link}: {problem}" in capsys.readouterr().out.replace("\\", "/")


def test_pictures_and_scripts_have_to_be_there_too(tmp_path: Path) -> None:
    assert main([site(tmp_path, '<script src="../_static/b.js"></script>')]) == 1


def test_an_empty_site_is_none(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1


def test_addresses_outside_are_counted_and_listed_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = site(tmp_path, '<a href="https://example.org/">x</a>')
    assert main([folder]) == 0
    assert "1 addresses outside" in capsys.readouterr().out
    assert main([folder, "--outside"]) == 0
    assert "https://example.org/\n" in capsys.readouterr().out
