"""What an application makes of what was handed over."""

import dataclasses
import socket

import pytest

from chanlink import HandshakeError, Identity, Limits, RemoteProtocolError
from chanlink.handover.handing import client_stream_of, heard_of, presented_of, said_of
from chanlink.handover.messages import HandedOver
from chanlink.limits import PeerLimits
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Issued
from chanlink.transport.sockets import SocketTransport
from tests.security.keys.credentials import CA

from .test_passing import HANDED

ALICE = Identity.generate("alice")
VOUCHED = CA("org").issue(ALICE.public_key, "alice")


def handed(**entries: object) -> HandedOver:
    return dataclasses.replace(HANDED, **entries)  # type: ignore[arg-type]


def test_a_peer_is_who_the_daemon_says_and_may_use_what_it_came_for() -> None:
    presented, grant = presented_of(handed(peer={"key": ALICE.public_key.raw, "name": "alice"}), {"echo"})
    assert presented == Presented(ALICE.public_key)
    assert (grant.name, grant.names, grant.issued) == ("alice", None, None)
    assert grant.allows("echo")
    assert not grant.allows("other")
    assert presented_of(HANDED, None)[1].allows("anything")


def test_a_credential_comes_with_its_issuer_and_is_read_again() -> None:
    peer = {"key": ALICE.public_key.raw, "name": "alice@org", "names": ["web1"]}
    vouched = {"issuer": "org", "principal": "alice", "credential": VOUCHED.blob}
    presented, grant = presented_of(handed(peer=peer | vouched), {"echo"})
    assert presented.credential == VOUCHED
    assert grant.issued == Issued("org", "alice", VOUCHED)
    assert grant.names == {"web1"}
    changed = bytearray(VOUCHED.blob)
    changed[-1] ^= 1
    with pytest.raises(RemoteProtocolError, match="a credential that can't be read"):
        presented_of(handed(peer=peer | vouched | {"credential": bytes(changed)}), {"echo"})


def test_a_server_hears_what_the_daemon_has_heard() -> None:
    heard = heard_of(
        handed(resume=5_000, round_trip=2_500, features=["one", "two"]), Presented(ALICE.public_key), "echo"
    )
    assert (heard.asked, heard.session, heard.round_trip) == (5_000, b"", 0.0025)
    assert heard.features == {"one", "two"}
    assert heard.peer_limits == PeerLimits()
    assert heard.secrets == (HANDED.client_key, HANDED.server_key, HANDED.exporter_secret, HANDED.h)
    assert heard_of(handed(returns=True), Presented(ALICE.public_key), "echo").session == HANDED.id


def test_what_a_peer_is_told_of_limits_is_what_concerns_it() -> None:
    said = said_of(Limits(message_size=5, handshake=1.0))
    assert said["message_size"] == 5
    assert set(said) == set(PeerLimits.__slots__)


@pytest.mark.anyio
async def test_a_suite_that_does_not_work_here_is_an_error_of_the_handshake() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(HandshakeError, match="'later'"):
        client_stream_of(SocketTransport(one), handed(suite="later"), resumes=False)
    with pytest.raises(HandshakeError, match="'later'"):
        heard_of(handed(suite="later"), Presented(ALICE.public_key), "echo")
