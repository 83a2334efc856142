"""Words of a command line, which are bytes, as text: whole, or as much as fits into a line."""

import shlex
from collections.abc import Sequence

import chanlink

LINE_MAX = 1_000
"""Characters of a line in a log, on a terminal or in an answer, and bytes of the words that it shows."""

Word = str | bytes
"""As programs write it: bytes if it is not UTF-8."""


def text_of(word: bytes) -> str:
    """As text, in whatever locale we run; bytes that are no UTF-8 can be told apart, and `bytes_of` gives them back."""
    return word.decode(errors="surrogateescape")


def bytes_of(text: str) -> bytes:
    """What `text_of` was made of, and what a text is in a file of ours."""
    return text.encode(errors="surrogateescape")


def beginning(words: Sequence[bytes]) -> list[str]:
    """The first words, `LINE_MAX` bytes of them: they may be a mebibyte, of somebody who may not run them."""
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
    """One line, not too long a one, for logs and terminals: it may be the words of the other side."""
    return chanlink.printable(text[:LINE_MAX])[:LINE_MAX]
