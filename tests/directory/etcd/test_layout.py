"""What stands in etcd, and what is made of values that are no directory's."""

import base64
import time
from typing import Any

import msgpack
import pytest

from chanlink import StoreError
from chanlink.directory.etcd.layout import (
    Layout,
    Row,
    below,
    delete,
    encoded,
    leases_in,
    one,
    owners_in,
    pack_entry,
    pack_owners,
    put,
    text_of,
    transaction,
)
from chanlink.directory.store import Owner
from tests.directory.made import KEY, OTHER, new

LAYOUT = Layout("/test/")


def kv(key: str, value: bytes, **rest: Any) -> dict[str, Any]:
    return {"key": encoded(key), "value": encoded(value), "mod_revision": "7", **rest}


def test_an_entry_is_read_as_it_was_written() -> None:
    key = LAYOUT.entry("web1", KEY)
    assert key == f"/test/entries/web1/{KEY.hex()}"
    row = LAYOUT.row(kv(key, pack_entry(new(serial=9, prekeys=b"x")), lease="12"))
    assert row == Row("web1", KEY, 9, 60, row.until, b"entry 9", b"signature", b"x", "12")
    assert LAYOUT.which(key) == ("web1", KEY)
    guess = row.guess()
    assert guess is not None
    assert 0 < guess <= 60


@pytest.mark.parametrize("ahead", [-1, 1_000, 1e9])
def test_a_time_that_can_not_be_is_no_guess(ahead: float) -> None:
    row = LAYOUT.row(kv(LAYOUT.entry("web1", KEY), pack_entry(new())))
    assert row._replace(until=time.time() + ahead).guess() is None


def test_owners_are_read_as_they_were_written_with_the_revision_to_compare() -> None:
    owners = [Owner(KEY, True, 5), Owner(OTHER, False, 6)]
    assert owners_in([kv(LAYOUT.owners("web1"), pack_owners(owners))]) == (owners, "7")
    assert owners_in([]) == ([], "0")


def test_who_hears_the_entries_is_told_of_what_changes_there() -> None:
    steps = [delete(one(LAYOUT.owners("web1"))), delete(below(LAYOUT.entries_of("web1")))]
    gone: dict[str, Any] = {"response_delete_range": {"deleted": "1"}}
    nothing: dict[str, Any] = {"response_delete_range": {}}
    assert LAYOUT.is_told(steps, [gone, gone])
    assert not LAYOUT.is_told(steps, [gone, nothing])
    assert LAYOUT.is_told([put(LAYOUT.entry("web1", KEY), b"")], [{"response_put": {}}])
    assert not LAYOUT.is_told([put(LAYOUT.owners("web1"), b"")], [{"response_put": {}}])


@pytest.mark.parametrize("value", [b"", b"\xc1", msgpack.packb({}), msgpack.packb([1, 2])], ids=range(4))
def test_what_is_no_entry_is_an_error_that_names_its_place(value: bytes) -> None:
    with pytest.raises(StoreError, match="/test/entries/web1/"):
        LAYOUT.row(kv(LAYOUT.entry("web1", KEY), value))


@pytest.mark.parametrize("key", ["/test/entries/web1", "/test/entries/web1/xyz"])
def test_a_key_that_is_none_of_ours_is_an_error(key: str) -> None:
    if key.endswith("xyz"):
        with pytest.raises(StoreError, match="not of a directory"):
            LAYOUT.which(key)
    else:
        assert LAYOUT.which(key) == ("web1", b"")


def test_a_range_is_of_the_keys_that_begin_so() -> None:
    found = below("/test/entries/web1/")
    assert (text_of(found["key"]), text_of(found["range_end"])) == ("/test/entries/web1/", "/test/entries/web10")


def test_a_transaction_compares_the_owners_if_there_are_any_to_compare() -> None:
    step = put("key", b"value", "5")
    assert transaction([step]) == {"compare": [], "success": [step]}
    [compared] = transaction([step], "owners", "7")["compare"]
    assert (text_of(compared["key"]), compared["mod_revision"]) == ("owners", "7")


def test_the_leases_of_what_was_replaced_or_deleted_are_needed_no_more() -> None:
    before = {"key": base64.b64encode(b"x").decode(), "lease": "5"}
    answers = [
        {"response_put": {"prev_kv": before}},
        {"response_put": {}},
        {"response_delete_range": {"prev_kvs": [{**before, "lease": "6"}, {"key": "eA=="}]}},
        {"response_delete_range": {}},
    ]
    assert leases_in(answers) == ["5", "6"]
