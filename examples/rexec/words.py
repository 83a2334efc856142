"""Words of a command line, which are bytes, as text: whole, or as much as fits into a line."""

import shlex
from collections.abc import Sequence

import chanlink

LINE_MAX = 1_000
"""Characters of a line in a log, on a terminal or in an answer, and bytes of the words that it shows."""

Word = str | bytes
"""As programs write it: bytes if it is not UTF-8."""


def text_of(word: bytes) -> str:
    """As text, whatever our locale is; bytes that are not UTF-8 stay distinct, and `bytes_of` gives them back."""
    return word.decode(errors="surrogateescape")


def bytes_of(text: str) -> bytes:
    """What `text_of` was given; also what a text in one of our own files stands for."""
    return text.encode(errors="surrogateescape")


def beginning(words: Sequence[bytes]) -> list[str]:
    """The first words, `LINE_MAX` bytes of them: they may be a mebibyte, from a caller who may not even run them."""
    shown, room = [], LINE_MAX
    for word in words:
        if room <= 0:
            break
        shown.append(text_of(word[:room]))
        room -= len(word) + 1
    return shown


def shell_line(words: Sequence[bytes]) -> str:
    """Words quoted as for a shell, in one printable line that is cut where it gets long."""
    return one_line(shlex.join(beginning(words)))


def one_line(text: str) -> str:
    """One line, and not too long, for logs and terminals: the text may come from the other side.

    Not `chanlink.printable`, which cuts nothing."""
    return chanlink.printable(text[:LINE_MAX])[:LINE_MAX]
