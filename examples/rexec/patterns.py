"""Patterns of words, and of commands.

A pattern of a command has a pattern for each word. ``*`` and ``?`` stand for characters but ``/``, ``**`` for any.
At the start of a word ``*`` and ``?`` don't stand for a ``-``, lest an option slip in. ``...`` as the last word stands
for any number of further words of any kind.
"""

import re
from collections.abc import Sequence

REST = "..."


def matches_command(words: Sequence[str], pattern: Sequence[str]) -> bool:
    if pattern[-1] == REST:
        return len(words) >= len(pattern) - 1 and all(map(matches, words, pattern[:-1]))
    return len(words) == len(pattern) and all(map(matches, words, pattern))


def matches_any(word: str, patterns: Sequence[str]) -> bool:
    return any(matches(word, pattern) for pattern in patterns)


def matches(word: str, pattern: str) -> bool:
    if pattern[:1] in ("*", "?") and word.startswith("-") and not pattern.startswith("**"):
        return False
    # fnmatch of the standard library knows no ** and lets * stand for a slash.
    pieces = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = "".join(pieces.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*|\*|\?)", pattern))
    return re.fullmatch(expression, word, re.DOTALL) is not None
