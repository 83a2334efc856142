"""What vouches for the two sides of a session, and for how long (protocol sections 2.5 and 3.5)."""

from typing import Any

import pytest

from chanlink import Credential, Identity, Issued, SessionClosed, UntrustedPeer, clock
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Trust
from chanlink.security.statics import Statics
from chanlink.session.vouching import GRACE, LOOK, Ours, Vouching, admits_of, ours_of
from tests.security.keys.credentials import CA

pytestmark = pytest.mark.anyio
ORG, OTHER = CA("org"), CA("other")
ALICE = Identity.generate("alice")
KEY = ALICE.public_key
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "since_1970", lambda: NOW)


def issued(before: int = NOW + 1_000, principal: str = "alice", ca: CA = ORG, **options: Any) -> Credential:
    return ca.issue(KEY, principal, **{"after": NOW - 1_000, "before": before} | options)


class Admitting:
    """Lets in whom ORG or OTHER vouches for, and says as whom."""

    refuses = False

    def __call__(self, presented: Presented) -> Grant:
        credential = presented.credential
        if self.refuses:
            raise UntrustedPeer(presented.key.fingerprint)
        if credential is None:
            return Grant("by its key", None)
        label = "org" if credential.ca == ORG.key else "other"
        return Grant("alice", None, None, Issued(label, credential.principals[0], credential))


def vouching(credential: Credential | None, admits: Admitting | None = None) -> Vouching:
    admits = admits or Admitting()
    presented = Presented(KEY, credential)
    return Vouching(presented, admits(presented), admits)


# --- how long -----------------------------------------------------------------------------------


def test_a_session_lives_ten_minutes_longer_than_the_credential() -> None:
    one = vouching(issued(before=NOW))
    assert GRACE == 600
    assert [one.is_over(NOW + seconds) for seconds in (0, 599.9, 600, 10_000)] == [False, False, True, True]


def test_one_by_a_key_alone_lives_on() -> None:
    one = vouching(None)
    assert one.expires is None
    assert not one.is_over(2**63)


def test_when_a_key_has_a_line_of_its_own_by_now_the_credential_is_no_matter() -> None:
    one = vouching(issued(before=NOW))
    one.decided(Grant("alice", None))
    assert not one.is_over(NOW + GRACE)


# --- a newer one --------------------------------------------------------------------------------


def test_a_newer_credential_moves_the_end() -> None:
    one, granted = vouching(issued(before=NOW)), list[Grant]()
    one.on_granted(lambda grant: (granted.append(grant), one.decided(grant), None)[-1])
    newer = issued(before=NOW + 5_000)
    assert one.renew(newer)
    assert one.presented.credential == newer
    assert granted[0].issued is not None
    assert granted[0].issued.credential == newer
    assert one.expires == NOW + 5_000 + GRACE


@pytest.mark.parametrize(
    "other",
    [
        issued(),
        issued(before=NOW + 999),
        issued(before=NOW + 5_000, ca=OTHER),
        issued(before=NOW + 5_000, principal="bob"),
        issued(before=NOW + 5_000, after=NOW + 1),
        ORG.issue(Identity.generate().public_key, before=NOW + 5_000),
    ],
    ids=["the same", "an older one", "another CA", "another principal", "not yet valid", "another key"],
)
def test_what_is_no_newer_one_changes_nothing(other: Credential) -> None:
    before = issued()
    one = vouching(before)
    one.on_granted(lambda grant: pytest.fail("it counts"))
    assert not one.renew(other)
    assert (one.presented.credential, one.expires) == (before, NOW + 1_000 + GRACE)


def test_one_that_the_trust_refuses_changes_nothing() -> None:
    admits = Admitting()
    one = vouching(issued(), admits)
    admits.refuses = True
    assert not one.renew(issued(before=NOW + 5_000))


def test_a_peer_that_is_known_by_its_key_alone_renews_nothing() -> None:
    assert not vouching(None).renew(issued())


# --- on the way back ----------------------------------------------------------------------------


def test_who_comes_back_without_a_credential_is_who_it_was() -> None:
    """Its own may have ended meanwhile, so that it shows none: the session lives for ten minutes yet."""
    before = issued(before=NOW - 300)
    presented, grant = vouching(before).again(Presented(KEY, address="192.0.2.1"))
    assert presented == Presented(KEY, before, None, "192.0.2.1")
    assert grant.issued is not None
    assert grant.issued.credential == before


def test_who_comes_back_with_a_newer_one_has_shown_that() -> None:
    newer = issued(before=NOW + 5_000)
    assert vouching(issued()).again(Presented(KEY, newer))[0].credential == newer


def test_an_older_one_is_not_taken_for_newer() -> None:
    before = issued()
    assert vouching(before).again(Presented(KEY, issued(before=NOW + 10)))[0].credential == before


def test_something_else_that_vouches_for_the_key_is_another_session() -> None:
    with pytest.raises(SessionClosed) as caught:
        vouching(issued()).again(Presented(KEY, issued(before=NOW + 5_000, principal="bob")))
    assert caught.value.code == "gone"
    with pytest.raises(SessionClosed):
        vouching(None).again(Presented(KEY, issued()))


def test_who_is_not_trusted_any_more_does_not_come_back() -> None:
    admits = Admitting()
    one = vouching(issued(), admits)
    assert one.admitted_still() is not None
    admits.refuses = True
    assert one.admitted_still() is None
    with pytest.raises(UntrustedPeer):
        one.again(Presented(KEY))


@pytest.mark.parametrize("clock_says", [NOW + 1_500, NOW - 5_000], ids=["it has ended", "the clock was set back"])
def test_a_trust_that_changes_is_not_asked_of_the_time(clock_says: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Asked(Authority):
        def admit(self, presented: Presented, now: int) -> Grant:
            asked.append(now)
            return Grant("alice", None)

    monkeypatch.setattr(clock, "since_1970", lambda: clock_says)
    credential = issued()
    admits_of(Asked(Trust.nobody()))(Presented(KEY, credential))
    admits_of(Asked(Trust.nobody()))(Presented(KEY))
    assert credential.holds(asked[0])
    assert asked[1] == clock_says


# --- our own ------------------------------------------------------------------------------------


class Finding:
    """What vouches for our key, as it is found."""

    def __init__(self, found: Credential | None) -> None:
        self.found = found
        self.looks = 0

    async def __call__(self) -> tuple[Credential | None, None]:
        self.looks += 1
        return self.found, None


def ours(finding: Finding, shown: Credential) -> Vouching:
    return Vouching(Presented(KEY), Grant("server", None), Admitting(), Ours(shown, finding))


def test_a_newer_one_is_looked_for_when_a_quarter_of_the_life_is_left() -> None:
    one = ours(Finding(None), issued(after=NOW - 1_000, before=NOW + 3_000))
    assert [one.is_due(NOW + seconds) for seconds in (0, 1_999, 2_000, 5_000)] == [False, False, True, True]
    assert not vouching(issued()).is_due(NOW + 10_000)


async def test_it_is_shown_once_and_looked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = [0.0]
    monkeypatch.setattr(clock, "now", lambda: ticks[0])
    newest = issued(before=NOW + 5_000)
    finding = Finding(newest)
    one = ours(finding, issued(before=NOW))
    assert one.is_due(NOW)
    assert await one.newer() == newest
    assert not one.is_due(NOW + 10**6)
    ticks[0] = LOOK
    assert one.is_due(NOW + 10**6)
    assert await one.newer() is None
    assert finding.looks == 2


async def test_one_of_another_authority_is_not_shown() -> None:
    for found in (None, issued(before=NOW + 5_000, ca=OTHER), issued(before=NOW - 1)):
        assert await ours(Finding(found), issued()).newer() is None


async def test_who_has_no_credential_looks_for_none() -> None:
    statics = Statics(ALICE, Role.CLIENT)
    await statics.shown()
    assert ours_of(statics) is None
