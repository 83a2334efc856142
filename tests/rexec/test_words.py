"""Words of a command line as text."""

import shlex

from examples.rexec.words import LINE_MAX, beginning, bytes_of, one_line, shell_line, text_of


def test_all_bytes_are_text_and_come_back() -> None:
    word = bytes(range(256))
    assert bytes_of(text_of(word)) == word
    assert text_of("ü".encode()) == "ü"


def test_the_beginning_of_many_words_is_no_longer_than_a_line() -> None:
    assert beginning([b"a", b"bc"]) == ["a", "bc"]
    assert sum(map(len, beginning([b"x" * 300] * 100))) <= LINE_MAX
    assert beginning([b"x" * 10**6]) == ["x" * LINE_MAX]


def test_a_line_for_a_shell_gives_the_words_back() -> None:
    words = [b"printf", b"a b", b"", b"$HOME", b"it's"]
    assert shlex.split(shell_line(words)) == list(map(text_of, words))


def test_one_line_is_printable_and_short() -> None:
    said = one_line("a\nb\x1b[31m" + "\udcff" * 5_000)
    assert said.isprintable()
    assert len(said) == LINE_MAX
