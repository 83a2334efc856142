"""Header fields: what is written is plain, what is read may be anything that HPACK allows."""

import hpack
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.wire.h2 import headers
from chanlink.wire.opening import MAX_TRACE, Opening

FIELDS = st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=1_100)), max_size=12)
SHORT = st.lists(st.tuples(st.binary(min_size=1, max_size=126), st.binary(max_size=126)), max_size=7)


@given(FIELDS)
@hypothesis.settings(deadline=None)
def test_what_is_written_is_hpack(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = hpack.Decoder()
    assert [(bytes(name), bytes(value)) for name, value in decoder.decode(headers.encode(fields), raw=True)] == fields
    assert len(decoder.header_table.dynamic_entries) == 0


@given(SHORT)
@hypothesis.settings(deadline=None)
def test_what_is_short_needs_no_decoder(fields: list[tuple[bytes, bytes]]) -> None:
    assert headers.decode_plain(headers.encode(fields)) == dict(fields)


PIECES = st.lists(st.binary(max_size=8) | SHORT.map(headers.encode) | FIELDS.map(hpack.Encoder().encode), max_size=3)


@given(PIECES, st.integers(0, 40))
@hypothesis.settings(deadline=None)
def test_nothing_is_read_otherwise_than_a_decoder_reads_it(pieces: list[bytes], cut: int) -> None:
    block = b"".join(pieces)
    block = block[: len(block) - cut]
    given_ = headers.decode_plain(block)
    if given_ is not None:
        assert given_ == {bytes(name): bytes(value) for name, value in hpack.Decoder().decode(block, raw=True)}


OPENINGS = (
    st.builds(
        Opening,
        st.sampled_from(["receiver", "sender"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
        st.none(),
        st.none() | st.integers(0, 2**62),
        st.none(),
        st.none(),
        st.none() | st.binary(max_size=64),
        st.none() | st.binary(min_size=1, max_size=MAX_TRACE),
    )
    | st.builds(
        Opening,
        st.sampled_from(["receiver", "sender", "bytes"]),
        st.none(),
        st.integers(0, 50),
        st.none(),
        st.none(),
        st.none(),
    )
    | st.builds(
        Opening,
        st.just("bytes"),
        st.none(),
        st.integers(0, 50),
        st.none(),
        st.none() | st.integers(0, 2**62),
        st.none() | st.integers(0, 2**62),
    )
)


@given(OPENINGS)
@hypothesis.settings(deadline=None)
def test_an_opening_arrives_as_it_was(opening: Opening) -> None:
    arrived = headers.read_opening(99, dict(headers.opening_fields(opening, may_trace=True)))
    assert arrived == opening._replace(trace=opening.trace or None)
    assert headers.read_opening(99, dict(headers.opening_fields(opening))) == opening._replace(trace=None)


@pytest.mark.parametrize("field", [b"", b"-1", b"1.0", b" 1", b"+1", b"1_000", b"0x1", "\u0661".encode(), b"9" * 20])
def test_what_is_no_number_is_no_number(field: bytes) -> None:
    with pytest.raises(ValueError, match="not a number"):
        headers.number(field)
    assert headers.number(b"9" * 19) == 10**19 - 1
