"""The line behind which a session begins: what stands before it is anybody's, and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink import ConnectFailed, Identity
from chanlink.transport.banner import BANNER_MAX, Reader, is_token, line_of, new_token

TOKEN = "0123456789abcdef" * 2
KEY = str(Identity.generate().public_key)


def test_tokens_are_new_each_time() -> None:
    assert is_token(new_token())
    assert new_token() != new_token()
    assert not any(map(is_token, ("", "0" * 31, "G" * 32, "0" * 33, "0" * 31 + "\n")))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("key", ["", KEY], ids=["without", "with-key"])
def test_the_line_is_found_behind_a_banner(key: str, end: bytes) -> None:
    line = line_of(TOKEN, key).replace(b"\n", end)
    answer = Reader(TOKEN).feed(b"Welcome to web1!\nchanlink-stdio " + b"0" * 32 + b"\n" + line)
    assert answer is not None
    assert answer.key == key
    assert answer.before.startswith(b"Welcome")


@given(before=st.binary(max_size=300).map(lambda data: data.replace(b"chanlink", b"") + b"\n"), data=st.data())
def test_in_any_pieces(before: bytes, data: st.DataObject) -> None:
    whole, reader, answers = before + line_of(TOKEN, KEY), Reader(TOKEN), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        answers.append(reader.feed(whole[start:end]))
    found = [answer for answer in answers if answer is not None]
    assert [answer.key for answer in found[:1]] == [KEY]


def test_a_banner_without_end_is_not_read_for_ever() -> None:
    reader, fed = Reader(TOKEN), 0
    with pytest.raises(ConnectFailed, match="first 65536 bytes"):
        while fed < 10 * BANNER_MAX:
            fed += 1_000
            assert reader.feed(b"x" * 999 + b"\n") is None
    assert fed <= BANNER_MAX + 2_000


def test_a_line_that_never_ends_is_not_either() -> None:
    with pytest.raises(ConnectFailed):
        Reader(TOKEN).feed(b"chanlink-stdio " + TOKEN.encode() + b" " + b"A" * BANNER_MAX)


@pytest.mark.parametrize(
    "rest", [b"x", b" x", b" " + b"A" * 68, b"  ", b" ssh-ed25519 AAAA", b" " + b"=" * 68, b"0"],
    ids=["glued", "short", "no-key", "blank", "two-words", "padding", "longer-token"],
)  # fmt: skip
def test_what_is_no_key_is_refused(rest: bytes) -> None:
    with pytest.raises(ConnectFailed, match="Ed25519"):
        Reader(TOKEN).feed(b"chanlink-stdio " + TOKEN.encode() + rest + b"\n")


def test_nothing_stands_behind_it() -> None:
    with pytest.raises(ConnectFailed, match="something else writes"):
        Reader(TOKEN).feed(line_of(TOKEN, KEY) + b"more")


def test_another_token_is_a_part_of_the_banner() -> None:
    assert Reader(TOKEN).feed(line_of("f" * 32, KEY)) is None
