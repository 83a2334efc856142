"""What is handed over."""

import gc
import socket
from collections.abc import AsyncIterator

import pytest

from chanlink.daemon.handing import MOST_NAMES, OURS, Handshake, Keys, entries_of, hand_over, presented_in, vouched
from chanlink.errors import ConfigError, ConnectionLost
from chanlink.handover.messages import HandedOver
from chanlink.handover.passing import Line
from chanlink.limits import Limits, PeerLimits
from chanlink.security.keys.credential import USER
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant, Issued
from chanlink.security.rekey import FORGOTTEN, Secrets
from chanlink.session.vouching import GRACE
from chanlink.transport.sockets import SocketTransport
from tests.security.keys.credentials import CA

from .rows import row

ID = b"1" * 16
SECRETS = Secrets(b"c" * 32, b"s" * 32, b"e" * 32, b"h" * 32)
PEER, OUR = Identity.generate("peer").public_key, Identity.generate("us").public_key


def handshake(grant: Grant | None = None) -> Handshake:
    return Handshake(
        keys=Keys(SECRETS),
        suite="chachapoly",
        presented=Presented(PEER),
        grant=grant or Grant("peer", None),
        peer_limits=PeerLimits(message_size=4_321),
        features=OURS,
        round_trip=0.25,
        limits=entries_of(Limits()),
        identity=OUR,
        address="tcp://192.0.2.1:9323",
    )


class Ends:
    """A line, and a connection."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours, self.theirs = Line(ours), Line(theirs, takes_connections=True)
        near, self.far = socket.socketpair()
        self.near = SocketTransport(near)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        self.near.close_now()
        self.far.close()


@pytest.fixture
async def ends(anyio_backend: object) -> AsyncIterator[Ends]:
    made = Ends()
    yield made
    made.close()


@pytest.mark.anyio
async def test_an_application_gets_the_keys_and_the_connection(ends: Ends) -> None:
    hand_over(ends.ours, ends.near, ID, handshake(), resume=1_000, instance=b"2" * 16)
    ends.near.close_now()
    message, connection = await ends.theirs.receive_any((HandedOver,))
    assert isinstance(message, HandedOver)
    assert connection is not None
    with connection:
        assert (message.client_key, message.server_key, message.exporter_secret, message.h) == SECRETS
        assert (message.id, message.suite, message.identity) == (ID, "chachapoly", OUR.raw)
        assert message.peer == {"key": PEER.raw, "name": "peer"}
        assert message.peer_limits["message_size"] == 4_321
        assert (message.round_trip, message.expires) == (250_000, None)
        assert (message.resume, message.instance, message.returns) == (1_000, b"2" * 16, None)
        connection.sendall(b"from the application")
        assert ends.far.recv(100) == b"from the application"


@pytest.mark.anyio
async def test_who_has_handed_over_has_no_keys_any_more(ends: Ends) -> None:
    made = handshake()
    hand_over(ends.ours, ends.near, ID, made)
    assert made.keys.take() == FORGOTTEN
    del made
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, HandedOver)]


@pytest.mark.anyio
async def test_who_could_not_hand_over_has_none_either(ends: Ends) -> None:
    ends.theirs.close()
    made = handshake()
    with pytest.raises(ConnectionLost):
        hand_over(ends.ours, ends.near, ID, made)
    assert made.keys.take() == FORGOTTEN


def test_nothing_that_is_printed_shows_a_key() -> None:
    made = handshake()
    for text in (repr(made), repr(made.keys), str(made)):
        assert repr(SECRETS.client_key)[2:-1] not in text


@pytest.mark.anyio
async def test_what_vouches_for_the_peer_is_handed_over_and_kept(ends: Ends) -> None:
    credential = CA("org").issue(PEER, "alice", type=USER, before=2_000_000_000)
    grant = Grant("alice@org", None, issued=Issued("org", "alice", credential))
    made = handshake(grant)
    hand_over(ends.ours, ends.near, ID, made)
    message, connection = await ends.theirs.receive_any((HandedOver,))
    assert isinstance(message, HandedOver)
    assert connection is not None
    connection.close()
    assert message.peer["credential"] == credential.blob
    assert (message.peer["issuer"], message.peer["principal"]) == ("org", "alice")
    assert message.expires == credential.valid_before + GRACE
    kept = row(ID, address="192.0.2.1", key=PEER.raw.hex(), **vouched(grant))
    assert kept.expiry == message.expires
    assert presented_in(kept) == Presented(PEER, credential, None, "192.0.2.1")


def test_a_credential_without_an_end_has_none_here() -> None:
    credential = CA("org").issue(PEER, "alice", type=USER)
    grant = Grant("alice@org", None, issued=Issued("org", "alice", credential))
    assert handshake(grant).expires is None
    assert vouched(grant)["expiry"] == 0


def test_without_a_credential_nothing_expires() -> None:
    kept = row(ID, key=PEER.raw.hex(), **vouched(Grant("peer", None)))
    assert (kept.name, kept.issuer, kept.credential, kept.expiry) == ("peer", "", "", 0)
    assert presented_in(kept) == Presented(PEER)


def test_a_row_that_somebody_else_has_changed_is_an_error() -> None:
    with pytest.raises((ConfigError, ValueError)):
        presented_in(row(ID, key="00"))
    with pytest.raises((ConfigError, ValueError)):
        presented_in(row(ID, key=PEER.raw.hex(), credential="00"))


@pytest.mark.anyio
async def test_a_peer_with_many_long_names_can_be_handed_over(ends: Ends) -> None:
    names = frozenset(f"{number:0200d}" for number in range(2 * MOST_NAMES))
    hand_over(ends.ours, ends.near, ID, handshake(Grant("peer", None, names)))
    message, connection = await ends.theirs.receive_any((HandedOver,))
    assert isinstance(message, HandedOver)
    assert connection is not None
    connection.close()
    assert len(message.peer["names"]) == MOST_NAMES
