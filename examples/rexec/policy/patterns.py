"""Patterns of words, and of commands.

A pattern of a command has a pattern for each word. ``*`` and ``?`` stand for characters but ``/``, ``**`` for any.
At the start of a word ``*`` and ``?`` don't stand for a ``-``, lest an option slip in. As the last word, ``...`` stands
for any number of further words that are no options either, and ``-...`` for any number of any words.

No wild character leads up: ``/srv/*/log`` and ``/srv/**`` don't stand for a path through ``..``, nor does ``*``.
Only ``**`` in a pattern without a ``/`` may be any text.

A word may come from a hostile caller. So matching takes time in proportion to its length.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

REST, REST_WITH_OPTIONS = "...", "-..."
WORD_MAX = 128 * 1024
"""Characters: as long as a word can be on Linux. A longer one matches only what has one wild character at most."""


def matches_command(words: Sequence[str], pattern: Sequence[str]) -> bool:
    if pattern[-1] not in (REST, REST_WITH_OPTIONS):
        return len(words) == len(pattern) and all(map(matches, words, pattern))
    *first, last = pattern
    rest = words[len(first) :]
    if last == REST and any(word.startswith("-") for word in rest):
        return False
    return len(words) >= len(first) and all(map(matches, words, first))


def matches_any(word: str, patterns: Sequence[str]) -> bool:
    return any(matches(word, pattern) for pattern in patterns)


def matches(word: str, pattern: str) -> bool:
    if pattern[:1] in ("*", "?") and word.startswith("-") and not pattern.startswith("**"):
        return False
    if ".." in word and _leads_up(word, pattern):
        return False
    before, star, after = pattern.partition("*")
    any_character = after.startswith("*")
    after = after.lstrip("*")
    if "?" in pattern or "*" in after:
        return len(word) <= WORD_MAX and _compiled(pattern).matches(word)
    if not star:
        return word == pattern
    end = len(word) - len(after)
    return (
        len(before) <= end
        and word.startswith(before)
        and word.endswith(after)
        and (any_character or "/" not in word[len(before) : end])
    )


def _leads_up(word: str, pattern: str) -> bool:
    if "/" not in pattern and "**" in pattern:
        return False
    return word.split("/").count("..") > pattern.split("/").count("..")


class _Compiled:
    """A pattern with several wild characters.

    All ways to match are followed at once: bit n of ``ways`` says that the part of the pattern before its n-th piece
    may match what has been read of the word.
    """

    def __init__(self, pattern: str) -> None:
        pieces = re.findall(r"\*+|.", pattern, re.DOTALL)
        self._last = 1 << len(pieces)
        self._letters: dict[str, int] = {}
        self._single = self._star = self._any = 0
        for number, piece in enumerate(pieces):
            bit = 1 << number
            if piece == "?":
                self._single |= bit
            elif piece == "*":
                self._star |= bit
            elif piece[0] == "*":
                self._any |= bit
            else:
                self._letters[piece] = self._letters.get(piece, 0) | bit
        self._stars = self._star | self._any

    def matches(self, word: str) -> bool:
        ways = 1
        for character in word:
            ways |= (ways & self._stars) << 1  # a star may stand for nothing; two never follow each other
            taken, stay = self._letters.get(character, 0), self._any
            if character != "/":
                taken, stay = taken | self._single, self._stars
            ways = (ways & taken) << 1 | ways & stay
            if not ways:
                return False
        ways |= (ways & self._stars) << 1
        return bool(ways & self._last)


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> _Compiled:
    return _Compiled(pattern)
