"""What a daemon says of a peer takes the place of a trust."""

import time

import pytest

from chanlink import Identity, UntrustedPeer
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Issued
from chanlink.session.local_vouching import LocalVouching
from tests.security.keys.credentials import CA

ALICE = Identity.generate("alice")
ORG = CA("org")
OLD, NEW = (ORG.issue(ALICE.public_key, "alice", before=before) for before in (2_000_000_000, 2_100_000_000))


class Told(list[Grant | None]):
    pass


def vouching(*, issued: bool = False, expires: int | None = None) -> tuple[LocalVouching, Told]:
    presented = Presented(ALICE.public_key, OLD if issued else None)
    grant = Grant("alice", frozenset({"echo"}), None, Issued("org", "alice", OLD) if issued else None)
    found, told = LocalVouching(presented, grant, expires), Told()
    found.on_granted(told.append)
    return found, told


def test_the_peer_may_do_what_the_daemon_says_until_it_is_revoked() -> None:
    one, told = vouching()
    grant = one.admitted_still()
    assert grant is not None
    assert grant.allows("echo")
    assert not grant.allows("other")
    one.over("revoked")
    assert told == [None]
    assert one.admitted_still() is None
    with pytest.raises(UntrustedPeer):
        one.again(Presented(ALICE.public_key))


@pytest.mark.parametrize("code", ["unknown-session", "of-the-future"])
def test_any_other_end_is_that_of_a_trust(code: str) -> None:
    one, told = vouching()
    one.over(code)
    assert told == [None]


def test_when_it_expires_the_daemon_says_and_no_credential() -> None:
    now = time.time()
    one, _ = vouching(issued=True)
    assert one.expires is None
    assert not one.is_over(now)
    one.changed(None, int(now) - 1)
    assert one.is_over(now)
    one.changed("alice2", None)
    grant = one.admitted_still()
    assert grant is not None
    assert grant.name == "alice2"
    one.decided(grant)
    assert one.is_over(now)
    one.changed(None, int(now) + 100)
    assert not one.is_over(now)
    one.over("expired")
    assert one.is_over(now)


def test_a_peer_is_called_as_the_daemon_says_from_then_on() -> None:
    one, told = vouching()
    one.changed("web2", None)
    [grant] = told
    assert grant is not None
    assert grant.name == "web2"
    assert grant.allows("echo")


def test_what_a_peer_shows_when_it_comes_back_counts_as_the_daemon_has_let_it_in() -> None:
    one, _ = vouching(issued=True)
    presented, grant = one.again(Presented(ALICE.public_key, NEW))
    assert presented.credential == NEW
    assert grant.issued is not None
    assert grant.issued == Issued("org", "alice", NEW)
