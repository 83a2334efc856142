"""Limits that can't be are refused where they are made, not at the peer."""

import dataclasses

import pytest

from chanlink import ConfigError, Limits
from chanlink.limits import Bucket


@pytest.mark.parametrize("field", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_no_bound_is_zero_or_less(field: dataclasses.Field[object]) -> None:
    for value in (0, -1):
        with pytest.raises(ConfigError, match=field.name):
            Limits(**{field.name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("message_size", 2**31),
        ("message_depth", 129),
        ("message_values", 4_095),
        ("message_values", 2**31),
        ("message_int_keys", 2_047),
        ("message_int_keys", 2**31),
        ("message_ends", 129),
        ("open_channels", 2**31),
        ("stream_window", 1_023),
        ("stream_window", 2**31),
        ("stream_window_max", 2**31),
    ],
)
def test_what_the_protocol_has_no_room_for_is_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize("field", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_a_bound_is_a_number_and_a_whole_one_where_it_counts_something(field: dataclasses.Field[object]) -> None:
    for value in ("7", None, True, [7], *([7.0, 1e6] if field.type is int else [])):
        with pytest.raises(ConfigError, match=field.name):
            Limits(**{field.name: value})
    if field.type is float:
        Limits(**{field.name: 7})
        Limits(**{field.name: 7.5})


def test_a_bound_can_be_as_wide_as_the_protocol_allows() -> None:
    Limits(message_size=2**31 - 1, message_depth=128, message_ends=128, stream_window=1_024)


def test_the_other_side_is_told_its_own_values_of_what_concerns_it_and_no_more() -> None:
    told = Limits(message_size=1_000, open_channels=7, keepalive=1.0).announced()
    assert (told.message_size, told.open_channels, told.message_depth) == (1_000, 7, Limits().message_depth)
    assert not hasattr(told, "keepalive")


def test_a_bucket_is_emptied_at_once_and_fills_with_time() -> None:
    bucket = Bucket(3, 2)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(at) for at in (100.4, 100.9, 100.9)] == [False, True, False]
    assert [bucket.take(1_000_000.0) for _ in range(4)] == [True, True, True, False]  # and no more than there was
