"""How a rule may call a peer."""

import pytest

import chanlink
from examples.rexec.messages import StartError
from examples.rexec.policy.names import identities, is_name, looks_like_key, names_of
from examples.rexec.policy.policy import Policy, Rule
from tests.vouched import issued, vouched

BOSS, THIEF = (chanlink.Identity.generate(name).public_key for name in ("boss", "thief"))
WHOLE = " ".join(str(BOSS).split()[:2])
LIKE_KEYS = [BOSS.fingerprint, WHOLE, WHOLE.split()[1], "MD5:00:11", "sk-ssh-ed25519@openssh.com AAAA"]


def test_a_peer_is_called_by_its_key_its_name_its_issuer_and_as_everybody() -> None:
    peer = vouched()
    assert peer.key is not None
    own = {"alice@example", peer.key.fingerprint, " ".join(str(peer.key).split()[:2])}
    assert list(names_of(peer)) == [own, {"*@example"}, {"*"}]
    assert list(names_of(chanlink.Peer(None, "bob", "here"))) == [{"bob"}, {"*"}]


@pytest.mark.parametrize("text", LIKE_KEYS, ids=lambda text: text[:7])  # the rest is random
def test_what_looks_like_a_key_is_no_name(text: str) -> None:
    assert looks_like_key(text)
    assert not is_name(text)
    assert text not in identities(THIEF, text)


@pytest.mark.parametrize("text", ["*", "*@example"])
def test_what_stands_for_many_is_no_name(text: str) -> None:
    assert identities(THIEF, text) == identities(THIEF, "*") == {THIEF.fingerprint, " ".join(str(THIEF).split()[:2])}


@pytest.mark.parametrize("text", [*LIKE_KEYS, "*", "*@example"], ids=lambda text: text[:7])
@pytest.mark.parametrize("vouches", [False, True])
def test_no_name_gets_its_owner_the_rule_of_a_key_or_of_an_issuer(text: str, vouches: bool) -> None:
    """Whoever asks for his line in the trust file has written the comment in it; of a principal the issuer has."""
    policy = Policy([Rule("all", (text,))])
    if text == "*":
        policy = Policy([Rule("all", ("*@other",))])
    peer = chanlink.Peer(THIEF, text, "here")
    if vouches:
        by = issued(principal=text)
        peer = chanlink.Peer(THIEF, text, "here", issued=by._replace(issuer="elsewhere"))
    with pytest.raises(StartError):
        policy.rule_for(peer)


def test_all_of_an_issuer_are_those_that_it_vouches_for() -> None:
    policy = Policy([Rule("theirs", ("*@example",))])
    assert policy.rule_for(vouched()).name == "theirs"
    with pytest.raises(StartError):
        policy.rule_for(chanlink.Peer(THIEF, "alice@example", "here"))
    with pytest.raises(StartError):
        policy.rule_for(chanlink.Peer(THIEF, "alice@example", "here", issued=issued()._replace(issuer="example2")))


def test_whoever_is_named_has_that_rule_wherever_it_stands() -> None:
    peer = vouched()
    assert peer.key is not None
    rules = [Rule("all", ("*",)), Rule("issuer", ("*@example",)), Rule("key", (peer.key.fingerprint,))]
    assert Policy(rules).rule_for(peer).name == "key"
    assert Policy(rules[:2]).rule_for(peer).name == "issuer"
    assert Policy([*rules, Rule("name", ("alice@example",))]).rule_for(peer).name == "key"
