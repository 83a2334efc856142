"""`Gateway`: the services by which servers offer themselves, and clients get to them (protocol section 19.2).

It copies nothing: the byte stream that a client has opened goes on in a message to the server, and what comes by the
one session leaves by the other without a task in between, and without being read.
"""

import hmac
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import anyio
from anyio import CancelScope

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Receiver, Sender
from chanlink.errors import ChannelError, EndOfChannel, MessageError
from chanlink.printing import printable_logger
from chanlink.security.keys.openssh import PublicKey
from chanlink.session.passage import reset
from chanlink.session.peer import Peer
from chanlink.session.services import Handler, Services, service, streams
from chanlink.transport.through import LABEL_BYTES, OFFER, SCHEME

logger = printable_logger(__name__)

PATIENCE = 10.0
"""Seconds in which an offer has to be complete, and in which who has offered takes another client."""


class _Offer:
    """That somebody can be reached by a name."""

    def __init__(self, key: PublicKey, clients: Sender[Any], scope: CancelScope) -> None:
        self.key = key
        self.clients = clients
        self.scope = scope


class Gateway(Mapping[str, Handler | streams | service]):
    """The services of a gateway, beside others: ``listen(..., services=Gateway({"echo": echo}))``.

    Who may offer a name, and who may ask for one, the trust of the listener says: ``offers="build"``,
    ``services="via:build"``. The bounds are those of its `Limits`: of one key, ``sessions_per_key`` sessions, in each
    of which ``open_channels`` streams; of names, as many as the trust gives away.
    """

    def __init__(self, services: Services | None = None) -> None:
        self._services = dict(services or {})
        self._offers: dict[str, _Offer] = {}
        self._secret = secrets.token_bytes(32)

    @property
    def offered(self) -> list[str]:
        """The names that are offered now."""
        return sorted(self._offers)

    def __getitem__(self, name: str) -> Handler | streams | service:
        if name in self._services:
            return self._services[name]
        if name.startswith(SCHEME):
            return streams(partial(self._bridge, name.removeprefix(SCHEME)))
        if name.startswith(OFFER):
            return partial(self._take_offer, name.removeprefix(OFFER))
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Of those that have one name each."""
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)

    # --- for servers ---

    async def _take_offer(self, name: str, receiver: Receiver[Any], peer: Peer) -> None:
        clients = await _clients_in(receiver)
        if clients is None:
            receiver.refuse("bad-offer", "a map with the sender of clients is wanted")
            return
        assert peer.key is not None
        before = self._offers.get(name)
        if before is not None and before.key != peer.key:
            logger.info("%s may not be offered by %s: another key has offered it", name, peer.name)
            _give_up(receiver, clients, "name-taken", f"another key offers {name} now")
            return
        with CancelScope() as scope:
            offer = self._offers[name] = _Offer(peer.key, clients, scope)
            if before is not None:
                before.scope.cancel()
            logger.info("%s is offered by %s from now on", name, peer.name)
            try:
                await self._keep(receiver, clients)
            finally:
                if self._offers.get(name) is offer:
                    del self._offers[name]
        if scope.cancelled_caught:
            logger.info("%s is offered by %s again, in the place of the offer before", name, peer.name)
            _give_up(receiver, clients, "replaced", f"the same key offers {name} again")
        else:
            logger.info("%s is not offered by %s any more", name, peer.name)

    async def _keep(self, receiver: Receiver[Any], clients: Sender[Any]) -> None:
        """Until the offer is over."""
        try:
            await clients.send({"offered": True})
            await receiver.receive()
        except (ChannelError, MessageError):
            clients.close()
            return
        _give_up(receiver, clients, "bad-offer", "an offer is one message")

    # --- for clients ---

    async def _bridge(self, name: str, stream: ByteStream, peer: Peer) -> None:
        offer = self._offers.get(name)
        if offer is None:
            reset(stream, "not-offered", f"nobody offers {name} now")
            return
        assert peer.key is not None
        client = self._label(offer.key, peer.key)
        try:
            with anyio.fail_after(PATIENCE):
                await offer.clients.send({"client": client, "stream": stream})
        except TimeoutError:
            reset(stream, "busy", f"{name} takes nobody else now")
        except (ChannelError, MessageError):
            reset(stream, "not-offered", f"nobody offers {name} any more")

    def _label(self, offers: PublicKey, client: PublicKey) -> bytes:
        return hmac.digest(self._secret, offers.raw + client.raw, "sha256")[:LABEL_BYTES]


async def _clients_in(receiver: Receiver[Any]) -> Sender[Any] | None:
    """What an offer brings; None if it is none."""
    with anyio.move_on_after(PATIENCE):
        try:
            said = await receiver.receive()
        except (EndOfChannel, MessageError):
            return None
        clients = said.get("clients") if isinstance(said, dict) else None
        return clients if isinstance(clients, Sender) else None
    return None


def _give_up(receiver: Receiver[Any], clients: Sender[Any], code: str, text: str) -> None:
    clients.fail(code, text)
    receiver.refuse(code, text)
