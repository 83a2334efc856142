"""Patterns of words and of commands."""

import random
import re

import pytest

from examples.rexec.policy import patterns


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "words", "others"),
        [
            ("git", ["git"], ["gi", "gitk", "/usr/bin/git", "GIT", "git\n"]),
            ("web-*", ["web-1", "web-"], ["web", "web-/1", "xweb-1"]),
            ("*", ["", "a", "a\nb", "*"], ["-a", "a/b", "--", "-"]),
            ("-*", ["-a", "--all"], ["a", "-a/b"]),
            ("**", ["", "a/b", "-a", "../x"], []),
            ("/var/log/*", ["/var/log/a", "/var/log/-a"], ["/var/log/a/b", "/var/log/../shadow"]),
            ("/srv/**", ["/srv/a/b"], ["/srv", "/etc"]),
            ("a?c", ["abc"], ["ac", "a/c", "abbc"]),
            ("a.c+[x]", ["a.c+[x]"], ["abc+[x]", "a.cc[x]", "a.c+x"]),
            ("?", ["a"], ["-", "/", "ab"]),
        ],
    )
    def test_of_words(self, pattern: str, words: list[str], others: list[str]) -> None:
        assert [word for word in words + others if patterns.matches(word, pattern)] == words

    @pytest.mark.parametrize(
        ("pattern", "commands", "others"),
        [
            (["ls"], ["ls"], ["ls -l", "", "lsof"]),
            (
                ["git", "pull", "..."],
                ["git pull", "git pull a b"],
                ["git", "git push", "git -c x pull", "git pull --all", "git pull a -v"],
            ),
            (["git", "pull", "-..."], ["git pull", "git pull --all a -v"], ["git", "git push --all"]),
            (
                ["tail", "*", "/var/log/*"],
                ["tail 5 /var/log/a"],
                ["tail -f /var/log/a", "tail 5 /etc/a"],
            ),
        ],
    )
    def test_of_commands(self, pattern: list[str], commands: list[str], others: list[str]) -> None:
        allowed = [line for line in commands + others if patterns.matches_command(line.split(), pattern)]
        assert allowed == commands

    @pytest.mark.parametrize(
        ("pattern", "word", "allowed"),
        [
            ("/srv/*/log", "/srv/../log", False),
            ("/srv/**", "/srv/a/../../etc/shadow", False),
            ("/srv/**", "/srv/..", False),
            ("/srv/??/log", "/srv/../log", False),
            ("--file=/srv/*", "--file=/srv/..", False),
            ("*", "..", False),
            ("../*", "../..", False),
            ("../*", "../a", True),
            ("/srv/../*", "/srv/../a", True),
            ("*", "main..next", True),
            ("/srv/**", "/srv/a..b/...", True),
            ("**", "cd a/../b", True),
        ],
    )
    def test_what_is_wild_does_not_lead_up(self, pattern: str, word: str, allowed: bool) -> None:
        assert patterns.matches(word, pattern) == allowed

    def test_they_mean_what_a_regular_expression_means(self) -> None:
        def expected(word: str, pattern: str) -> bool:
            if pattern[:1] in ("*", "?") and word.startswith("-") and not pattern.startswith("**"):
                return False
            pieces = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
            parts = re.split(r"(\*\*|\*|\?)", pattern)
            expression = "".join(pieces.get(part) or re.escape(part) for part in parts)
            return re.fullmatch(expression, word, re.DOTALL) is not None

        lot = random.Random(12)
        matching = 0
        for _ in range(20_000):
            pattern = "".join(lot.choices("ab/-\n?**", k=lot.randrange(8)))
            word = "".join(lot.choices("aab/-\n", k=lot.randrange(9)))
            assert patterns.matches(word, pattern) == expected(word, pattern), (word, pattern)
            matching += patterns.matches(word, pattern)
        assert matching > 1_000

    @pytest.mark.parametrize("pattern", ["**a" * 30 + "b", "*a" * 30 + "b", "*?" * 30 + "/", "**a**/" * 20 + "?b"])
    def test_none_takes_for_ever_whatever_the_word(self, pattern: str) -> None:
        """By going back it would take longer than the age of the earth."""
        for word in ("a" * patterns.WORD_MAX, "a/" * (patterns.WORD_MAX // 2), "a" * (patterns.WORD_MAX + 1)):
            assert not patterns.matches(word, pattern)
        assert patterns.matches("a" * (patterns.WORD_MAX - 1) + "b", "**a**a*b")
