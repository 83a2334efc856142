"""The other side of a session: its name and its address."""

import pytest

import chanlink
from chanlink import Identity
from chanlink.session.peer import address_of


def test_a_peer_whose_name_changes_is_still_found_in_a_dict() -> None:
    peer = chanlink.Peer(Identity.generate().public_key, "alice", "here")
    seen = {peer: 1}
    peer.name = "bob"
    assert seen[peer] == 1
    assert peer != chanlink.Peer(peer.key, "alice", "here")


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        (("192.0.2.1", 80), "192.0.2.1:80"),
        (("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80"),
        (("fe80::1%eth0", 80), "[fe80::1%eth0]:80"),
        ("", "a local process"),
        (b"\0abstract", "a local process"),
        ("/run/s", "a local process"),
        (None, "TLSStream"),
    ],
)
def test_an_address_is_that_of_the_socket_or_what_it_came_by(remote: object, name: str) -> None:
    assert address_of(remote, "TLSStream") == name
