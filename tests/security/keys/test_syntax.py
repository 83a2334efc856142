"""What trust files and files of known peers have in common: their lines."""

import pytest

from chanlink import TrustFormatError
from chanlink.security.keys.syntax import FILE_MAX, LINE_MAX, check_size, clean_line, decode_lines


def test_lines_end_with_a_newline_and_the_last_one_need_not() -> None:
    assert decode_lines("file", b"") == [""]
    assert decode_lines("file", "größer\n\nx".encode()) == ["größer", "", "x"]
    assert decode_lines("file", b"x\n") == ["x", ""]
    assert decode_lines("file", "one\x0btwo\u2028three".encode()) == ["one\x0btwo\u2028three"]  # no ends of lines


@pytest.mark.parametrize("data", [b"\xff", b"\xed\xa0\x80", b"\xc3"])
def test_what_is_not_utf_8_is_refused_with_its_line(data: bytes) -> None:
    with pytest.raises(TrustFormatError, match=r"^/a/file:3: not UTF-8$"):
        decode_lines("/a/file", b"one\ntwo\nthree " + data + b"\nfour")


def test_a_file_has_a_bound() -> None:
    check_size("file", bytes(FILE_MAX))
    for refuse in (check_size, decode_lines):
        with pytest.raises(TrustFormatError, match=f"^file: larger than {FILE_MAX} bytes$"):
            refuse("file", bytes(FILE_MAX + 1))


@pytest.mark.parametrize("line", ["", " ", "\t", "\r", "# anything \x1b", "  # \u202e", "\t#\r"])
def test_empty_lines_and_comments_say_nothing(line: str) -> None:
    assert clean_line(line) == ""


@pytest.mark.parametrize("line", ["a b", " a b ", "\ta\tb\t", "a b\r", "  a b  \r"])
def test_blanks_around_a_line_do_not_count_and_a_tab_is_a_blank(line: str) -> None:
    assert clean_line(line) == "a b"


def test_a_line_has_a_bound() -> None:
    assert len(clean_line("x" * LINE_MAX)) == LINE_MAX
    with pytest.raises(TrustFormatError, match=f"longer than {LINE_MAX} characters"):
        clean_line("x" * (LINE_MAX + 1))


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\x1b", r"U\+001B which"),
        ("\ufeff", r"U\+FEFF, a byte order mark, which"),
        ("\u202e", r"U\+202E which"),
        ("\xa0", r"U\+00A0 which"),
        ("\r", r"U\+000D which"),
        ("\x00", r"U\+0000 which"),
    ],
)
def test_a_character_that_cannot_be_seen_is_refused_with_its_name(character: str, name: str) -> None:
    with pytest.raises(TrustFormatError, match=f"it has the character {name} is not printable"):
        clean_line(f"a{character}b")
