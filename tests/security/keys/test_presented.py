"""What a peer has shown."""

from chanlink import Identity
from chanlink.security.keys.presented import Presented

from .credentials import CA


def test_a_key_is_enough() -> None:
    key = Identity.generate().public_key
    assert Presented(key) == (key, None, None, "")


def test_of_a_peer_that_was_let_in_before_the_time_is_the_nearest_at_which_its_credential_holds() -> None:
    key = Identity.generate().public_key
    shown = Presented(key, CA().issue(key, after=100, before=200))
    assert [shown.counted_at(now) for now in (50, 100, 150, 199, 200, 10_000)] == [100, 100, 150, 199, 199, 199]
    assert Presented(key).counted_at(10_000) == 10_000
