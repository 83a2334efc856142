"""What a peer is called."""

import chanlink
from examples.rexec.peers import entries_about, owner_of, vouched_by
from tests.vouched import vouched


def test_what_is_a_key_s_stays_its_own_under_another_name() -> None:
    key = chanlink.Identity.generate("alice").public_key
    assert owner_of(chanlink.Peer(key, "alice", "")) == owner_of(chanlink.Peer(key, "bob", "")) == key.fingerprint
    assert owner_of(chanlink.Peer(None, "alice", "")) == "alice"


def test_an_audit_says_name_key_and_address() -> None:
    key = chanlink.Identity.generate("alice").public_key
    about = {"name": "alice", "key": key.fingerprint, "from": "tcp://10.0.0.1:5"}
    assert entries_about(chanlink.Peer(key, "alice", "tcp://10.0.0.1:5")) == about
    assert entries_about(chanlink.Peer(None, "alice", ""))["key"] is None


def test_an_audit_says_what_vouches_for_a_peer() -> None:
    about = entries_about(vouched("force-command"))
    assert about["name"] == "alice@example"
    named = {name: about[name] for name in ("issuer", "principal", "serial", "key_id")}
    assert named == {"issuer": "example", "principal": "alice", "serial": 7, "key_id": "alice's laptop"}


def test_a_log_says_what_vouches_for_a_peer() -> None:
    assert vouched_by(vouched()) == ', credential "alice\'s laptop", serial 7'
    assert vouched_by(chanlink.Peer(None, "alice", "")) == ""
