"""Last words, as fields (protocol section 6)."""

import pytest

from chanlink.errors import MAX_CODE, Reason, SessionClosed
from chanlink.wire.opening import MAX_WORDS, last_words_fields


def test_last_words_are_a_code_and_a_text() -> None:
    assert last_words_fields(Reason("failed", "oops", "why")) == [(b"code", b"oops"), (b"text", b"why")]
    assert last_words_fields(Reason("refused", "closed")) == [(b"code", b"closed"), (b"text", b"")]


@pytest.mark.parametrize("code", ["", "ö", "x" * (MAX_CODE + 1)])
def test_a_code_is_ascii_of_at_least_one_byte_and_not_too_long(code: str) -> None:
    (_, said), _ = last_words_fields(Reason("failed", code))
    assert 1 <= len(said) <= MAX_CODE
    said.decode("ascii")


@pytest.mark.parametrize("size", [MAX_WORDS - 5, MAX_WORDS - 4, MAX_WORDS - 3, 3 * MAX_WORDS])
def test_code_and_text_together_are_cut_between_characters(size: int) -> None:
    fields = last_words_fields(Reason("failed", "oops", "x" * (size - 2) + "ö"))
    assert sum(len(value) for _, value in fields) <= MAX_WORDS
    dict(fields)[b"text"].decode()


def test_what_is_lost_says_what_was_lost_and_no_code() -> None:
    ((name, text),) = last_words_fields(Reason("lost", cause=SessionClosed("draining", "x" * 2_000), text="them"))
    assert name == b"lost"
    assert 0 < len(text) <= MAX_WORDS
