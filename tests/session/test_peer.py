"""The other side of a session, and what it has opened that nobody has accepted."""

from collections import deque
from typing import Any

import chanlink
from chanlink import Identity, Incoming, Peer
from chanlink.session.peer import withdraw


def test_a_peer_whose_name_changes_is_still_found_in_a_dict() -> None:
    peer = chanlink.Peer(Identity.generate().public_key, "alice", "here")
    seen = {peer: 1}
    peer.name = "bob"
    assert seen[peer] == 1
    assert peer != chanlink.Peer(peer.key, "alice", "here")


class End:
    """Keeps what it is withdrawn with."""

    said: tuple[str, str] | None = None

    def _forsake(self, code: str, text: str) -> None:
        self.said = (code, text)


def waiting() -> deque[Incoming]:
    return deque(Incoming(service, End(), Peer(None, "peer", "here")) for service in ("a", "b", "a"))


def test_what_nobody_accepts_any_more_is_told_why() -> None:
    all_of_it = waiting()
    ends: list[Any] = [one.end for one in all_of_it]
    withdraw(all_of_it, "not-taken", "the session was left")
    assert not all_of_it
    assert [end.said for end in ends] == [("not-taken", "the session was left")] * 3


def test_services_that_the_peer_may_still_use_go_on_waiting() -> None:
    all_of_it = waiting()
    ends: list[Any] = [one.end for one in all_of_it]
    withdraw(all_of_it, "revoked", allows=lambda service: service == "b")
    assert [one.service for one in all_of_it] == ["b"]
    assert [end.said for end in ends] == [("revoked", ""), None, ("revoked", "")]
