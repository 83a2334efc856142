"""Whom a test lets in."""

import pytest

import chanlink
from chanlink.testing.guests import Guests


def test_a_guest_has_one_key_and_what_it_was_allowed_last() -> None:
    guests = Guests()
    alice = guests.let_in("alice", ["ping"])
    grant = guests.check(alice.public_key)
    assert grant is not None
    assert (grant.name, grant.allows("ping"), grant.allows("other")) == ("alice", True, False)
    assert guests.let_in("alice").public_key == alice.public_key
    grant = guests.check(alice.public_key)
    assert grant is not None
    assert grant.allows("other")
    assert guests.let_in("bob").public_key != alice.public_key


def test_nobody_else_gets_in() -> None:
    assert Guests().check(chanlink.Identity.generate("alice").public_key) is None


def test_services_are_several_names() -> None:
    with pytest.raises(TypeError, match="not one string"):
        Guests().let_in("alice", "ping")
