"""What a peer is called."""

import chanlink
from examples.rexec.peers import entries_about, owner_of


def test_what_is_a_key_s_stays_its_own_under_another_name() -> None:
    key = chanlink.Identity.generate("alice").public_key
    assert owner_of(chanlink.Peer(key, "alice", "")) == owner_of(chanlink.Peer(key, "bob", "")) == key.fingerprint
    assert owner_of(chanlink.Peer(None, "alice", "")) == "alice"


def test_an_audit_says_name_key_and_address() -> None:
    key = chanlink.Identity.generate("alice").public_key
    about = {"name": "alice", "key": key.fingerprint, "from": "tcp://10.0.0.1:5"}
    assert entries_about(chanlink.Peer(key, "alice", "tcp://10.0.0.1:5")) == about
    assert entries_about(chanlink.Peer(None, "alice", ""))["key"] is None
