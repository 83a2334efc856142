"""Limits that can't be are refused where they are made, not at the peer."""

import dataclasses

import pytest

from chanlink import ConfigError, Limits
from chanlink.limits import Bucket


@pytest.mark.parametrize("field", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_no_bound_is_less_than_zero_and_few_are_zero(field: dataclasses.Field[object]) -> None:
    for value in (-1, *([] if field.name in ("resume", "prekey") else [0])):
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
        ("unacknowledged", 65_535),
        ("unacknowledged", 2**31),
        ("resume", 2**32 // 1_000 + 1),
        ("resume", float("nan")),
        ("prekey", 86_401),
    ],
)
def test_what_the_protocol_has_no_room_for_is_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize("field", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_a_bound_is_a_number_and_a_whole_one_where_it_counts_something(field: dataclasses.Field[object]) -> None:
    for value in (
        "7",
        True,
        *([None] if field.name != "prekey" else []),
        [7],
        *([7.0, 1e6] if field.type is int else []),
    ):
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


def test_where_no_client_may_come_back_resume_is_zero() -> None:
    assert Limits(resume=0).resume == 0


def test_a_bucket_is_emptied_at_once_and_fills_with_time() -> None:
    bucket = Bucket(3, 2)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(at) for at in (100.4, 100.9, 100.9)] == [False, True, False]
    assert [bucket.take(1_000_000.0) for _ in range(4)] == [True, True, True, False]  # and no more than there was


def test_a_bucket_from_which_more_was_taken_than_there_was_fills_for_longer() -> None:
    bucket = Bucket(100, 10)
    assert bucket.left(5.0) == 100
    bucket.spend(120)
    assert bucket.left(6.0) == -10
    assert not bucket.take(7.0)
    assert bucket.take(7.2)
