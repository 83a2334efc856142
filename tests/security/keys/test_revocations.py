"""What is revoked besides keys of the trust file."""

import pytest

from chanlink import Identity, UntrustedPeer
from chanlink.security.keys.revocations import Revocations

from .credentials import CA
from .test_issuers import Listed

ORG = CA("org")
ALICE, BOB = Identity.generate("alice").public_key, Identity.generate("bob").public_key


def test_nothing_is_revoked_unless_a_list_says_so() -> None:
    Revocations().check_key(ALICE)
    Revocations().check_credential(ORG.issue(ALICE), "")
    Revocations(Listed(BOB)).check_key(ALICE)


def test_the_list_for_all_is_asked_for_every_key() -> None:
    with pytest.raises(UntrustedPeer, match="its key is revoked") as caught:
        Revocations(Listed(ALICE)).check_key(ALICE)
    assert caught.value.fingerprint == ALICE.fingerprint


def test_the_list_of_a_line_is_asked_for_those_whom_the_line_lets_in_and_no_others() -> None:
    revocations = Revocations(None, {"/one": Listed(ALICE), "/other": Listed()})
    revocations.check_key(ALICE)
    revocations.check_credential(ORG.issue(ALICE), "/other")
    revocations.check_credential(ORG.issue(ALICE), "")
    with pytest.raises(UntrustedPeer, match="its key is revoked"):
        revocations.check_credential(ORG.issue(ALICE), "/one")


def test_both_lists_are_asked() -> None:
    for revocations in (
        Revocations(Listed(ORG.key), {"/krl": Listed()}),
        Revocations(Listed(), {"/krl": Listed(ORG.key)}),
    ):
        with pytest.raises(UntrustedPeer, match="its authority is revoked"):
            revocations.check_credential(ORG.issue(ALICE), "/krl")


def test_a_list_that_was_not_read_lets_nobody_in() -> None:
    with pytest.raises(UntrustedPeer, match=r"was not read \(/krl\)"):
        Revocations(None, {"/other": Listed()}).check_credential(ORG.issue(ALICE), "/krl")
