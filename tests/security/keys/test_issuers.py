"""Whether an authority vouches for a peer: each reason why it does not."""

from collections.abc import Mapping
from typing import Any

import pytest

from chanlink import Identity, UntrustedPeer
from chanlink.security.keys.credential import HOST, USER
from chanlink.security.keys.issuers import Issuer, Issuers, check
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.revocations import Revocations

from .credentials import CA, FOREVER

ORG, OTHER = CA("org"), CA("other")
ALICE, BOB = Identity.generate("alice").public_key, Identity.generate("bob").public_key
NOW = 1_000
ISSUERS = Issuers(
    [
        Issuer("admins", ORG.key, ("root", "ops"), None, ""),
        Issuer("example", ORG.key, ("alice", "bob"), frozenset({"rexec"}), ""),
    ]
)


def vouching(*principals: str, address: str = "", now: int = NOW, ca: CA = ORG, **options: Any) -> tuple[str, str]:
    presented = Presented(ALICE, ca.issue(ALICE, *principals, **options), address=address)
    issuer, principal = ISSUERS.vouching(presented, now, Revocations())
    return issuer.label, principal


def refusal(*principals: str, **options: Any) -> str:
    with pytest.raises(UntrustedPeer) as caught:
        vouching(*principals, **options)
    assert caught.value.fingerprint == ALICE.fingerprint
    return caught.value.advice


@pytest.mark.parametrize(
    ("principals", "found"),
    [
        (("alice",), ("example", "alice")),
        (("bob",), ("example", "bob")),
        (("bob", "alice"), ("example", "alice")),
        (("nobody", "bob"), ("example", "bob")),
        (("alice", "root"), ("admins", "root")),
        (("ops", "root"), ("admins", "root")),
    ],
)
def test_the_first_line_counts_and_its_first_principal_that_the_credential_has(
    principals: tuple[str, ...], found: tuple[str, str]
) -> None:
    assert vouching(*principals) == found


@pytest.mark.parametrize("principals", [("carol",), ("Alice",), ("alice ",), ("alice@example",), ("*",), ("", "al")])
def test_another_principal_is_refused(principals: tuple[str, ...]) -> None:
    assert "no line of its authority has a principal of its credential" in refusal(*principals)


def test_another_authority_is_refused() -> None:
    assert refusal(ca=OTHER) == f"its credential is of {OTHER.key.fingerprint}, which is no authority here"


@pytest.mark.parametrize(
    ("after", "before", "problem"),
    [
        (NOW, NOW + 1, None),
        (0, FOREVER, None),
        (NOW + 1, FOREVER, "not valid before 1970-01-01 00:16:41 UTC"),
        (0, NOW, "has ended at 1970-01-01 00:16:40 UTC"),
        (NOW, NOW, "has ended"),
        (FOREVER, FOREVER, "not valid before the end of time"),
    ],
)
def test_it_holds_from_its_first_second_until_before_its_last(after: int, before: int, problem: str | None) -> None:
    if problem is None:
        assert vouching(after=after, before=before) == ("example", "alice")
    else:
        assert problem in refusal(after=after, before=before)


def test_one_of_a_host_is_refused_and_where_hosts_are_wanted_one_of_a_user() -> None:
    assert refusal(type=HOST) == "its credential is one of a host"
    for type, other in ((USER, HOST), (HOST, USER)):
        presented = Presented(ALICE, ORG.issue(ALICE, type=type))
        assert presented.credential is not None
        check(presented, presented.credential, type, NOW)
        with pytest.raises(UntrustedPeer):
            check(presented, presented.credential, other, NOW)


def test_one_of_another_key_is_refused() -> None:
    with pytest.raises(UntrustedPeer, match="one of another key"):
        ISSUERS.vouching(Presented(BOB, ORG.issue(ALICE)), NOW, Revocations())


def test_a_forced_command_is_no_reason_to_refuse_and_what_nobody_knows_is() -> None:
    assert vouching(force_command="date") == ("example", "alice")
    options: Mapping[str, bytes] = {"verify-required": b""}
    assert (
        refusal(options=options)
        == "its credential has the critical option 'verify-required', which nobody here enforces"
    )
    assert len(refusal(options={"x" * 1000: b""})) < 200


@pytest.mark.parametrize(
    ("networks", "address", "is_good"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("192.0.2.1,fd00::/8", "fd00::7", True),
        ("192.0.2.1,fd00::/8", "fe80::7", False),
        ("0.0.0.0/0,::/0", "", False),
        ("0.0.0.0/0,::/0", "unix:/run/it", False),
    ],
)
def test_one_for_some_addresses_is_good_from_those(networks: str, address: str, is_good: bool) -> None:
    if is_good:
        assert vouching(source_address=networks, address=address) == ("example", "alice")
    else:
        assert "may not be used from" in refusal(source_address=networks, address=address)


class Listed:
    """A list of what is revoked, as far as it is asked here."""

    def __init__(self, *revoked: object) -> None:
        self._revoked = revoked

    def revokes(self, key: object) -> bool:
        return key in self._revoked

    revokes_credential = revokes


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("what", ["key", "authority", "credential"])
def test_what_is_revoked_is_refused_whichever_list_says_so(what: str, everywhere: bool) -> None:
    credential = ORG.issue(ALICE)
    presented = Presented(ALICE, credential)
    issuers = Issuers([Issuer("example", ORG.key, ("alice",), None, "" if everywhere else "/krl")])
    good, bad = Listed(BOB), Listed({"key": ALICE, "authority": ORG.key, "credential": credential}[what])

    def revocations(krl: Listed) -> Revocations:
        return Revocations(krl) if everywhere else Revocations(None, {"/krl": krl})

    assert issuers.vouching(presented, NOW, revocations(good))[1] == "alice"
    with pytest.raises(UntrustedPeer, match=f"its {what} is revoked"):
        issuers.vouching(presented, NOW, revocations(bad))


def test_it_is_known_which_keys_are_authorities() -> None:
    assert ORG.key in ISSUERS
    assert OTHER.key not in ISSUERS
    assert ORG.key not in Issuers()
