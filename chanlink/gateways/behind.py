"""`Behind`: a listener that nobody can connect to, because it is behind NAT; it is reached by a gateway.

It connects to the gateway, offers itself by a name, and takes what the gateway bridges (protocol section 19.2). Each
client does its handshake with it inside a byte stream, so that it knows whom it serves as well as at a socket.
"""

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, ClassVar

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink import clock
from chanlink.arguments import expect
from chanlink.backoff import Backoff
from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.errors import (
    AddressError,
    ChanlinkError,
    ConfigError,
    DecodeError,
    EndOfChannel,
)
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.session.connecting import connect
from chanlink.session.hops import Hop
from chanlink.session.passage import Passage
from chanlink.session.route import bridged_limits, first_of
from chanlink.session.session import Session
from chanlink.transport.accepting import Acceptor, Listening
from chanlink.transport.address import is_good_name
from chanlink.transport.carried import CarrierListener
from chanlink.transport.through import LABEL_BYTES, OFFER, Bridged, addresses_via

logger = printable_logger(__name__)


class Behind(CarrierListener):
    """Where to listen, for `listen` and `serve`: at a gateway, by a name. Clients connect to ``via:GATEWAY/NAME``.

    ``hop`` is the gateway, an address or a `Hop`; of several addresses, the first that answers. The listener connects
    to it by itself, as long as it listens, and again after a pause of up to 30 s when the session was lost, or the name
    is not given to it; the log says so. The gateway's trust file must let our key, ``Hop.identity`` or
    `Identity.default`, offer the name: ``offers="NAME"``. `Limits.source_failures` counts for each client of the
    gateway, by a label that it gives them. Without ``limits`` of its own, the listener asks its clients after 45 s of
    silence whether they are there, and gives them up after 135 s.

    Raises `TypeError`, and a `ConfigError` for what is no address or no name.
    """

    default_limits: ClassVar[Limits | None] = bridged_limits()

    def __init__(self, hop: str | Hop, *, name: str) -> None:
        expect("hop", hop, str, Hop)
        expect("name", name, str)
        if not is_good_name(name):
            raise AddressError(f"{name!r:.300} is no name: at most 200 letters, digits, and _ . - only")
        self.hop = Hop(hop) if isinstance(hop, str) else hop
        self.name = name

    def __repr__(self) -> str:
        return f"<Behind {self.hop} as {self.name}>"

    async def listening(self, *, shared: bool = False) -> Listening:
        """As `CarrierListener`."""
        if shared:
            raise ConfigError("shared is for addresses of TCP: at a gateway one offers a name")
        return BehindGateway(self.hop, self.name)


class BehindGateway:
    """Keeps an offer at a gateway, and takes what comes. It is a `Listening`."""

    def __init__(self, hop: Hop, name: str) -> None:
        self.addresses = addresses_via(hop.addresses, name)
        self._hop = hop
        self._name = name
        self._closed = False
        self._scope: CancelScope | None = None
        """Of what is to end when no more is offered."""
        self._open: set[Passage] = set()

    def start(self, tasks: TaskGroup, acceptor: Acceptor) -> None:
        """As `Listening`."""
        tasks.start_soon(self._run, acceptor)

    def give_waiting(self) -> None:
        """As `Listening`: there are none; a client that the gateway has not given away is told to try elsewhere."""

    def close(self) -> None:
        """Offer no more. What has come goes on: the session with the gateway ends with the last of it."""
        self._closed = True
        if self._scope is not None:
            self._scope.cancel()

    def _until_closed(self) -> CancelScope:
        """For a block that ends when no more is offered."""
        self._scope = CancelScope()
        if self._closed:
            self._scope.cancel()
        return self._scope

    async def _run(self, acceptor: Acceptor) -> None:
        backoff = Backoff()
        while not self._closed:
            began = clock.now()
            try:
                await self._offer(acceptor)
            except ChanlinkError as exc:
                logger.warning("%s is not offered at %s: %s", self._name, self._hop, exc)
            backoff.lived(clock.now() - began)
            with self._until_closed():
                await anyio.sleep(backoff.pause())

    async def _offer(self, acceptor: Acceptor) -> None:
        """Offer the name until that is over. Raises why it is, unless it is we who want no more."""
        async with AsyncExitStack() as stack:
            session = await first_of(stack, self._hop, self._reach)
            with self._until_closed() as scope:
                sender: Sender[Any]
                clients: Receiver[Any]
                sender, clients = pipe()
                async with await session.open(f"{OFFER}{self._name}") as offer, clients:
                    await offer.send({"clients": sender})
                    await self._take_clients(clients, acceptor)
            if scope.cancelled_caught:
                for passage in list(self._open):
                    await passage.closed.wait()

    def _reach(self, address: Any) -> AbstractAsyncContextManager[Session]:
        return connect(address, identity=self._hop.identity, peer=self._hop.peer)

    async def _take_clients(self, clients: Receiver[Any], acceptor: Acceptor) -> None:
        if await clients.receive() != {"offered": True}:
            raise DecodeError("the gateway does not say that it has taken the offer")
        logger.info("%s is offered at %s", self._name, self._hop)
        async for client in clients:
            self._take(client, acceptor)
        raise EndOfChannel("the gateway has ended the offer")

    def _take(self, client: Any, acceptor: Acceptor) -> None:
        label, stream = (client.get("client"), client.get("stream")) if isinstance(client, dict) else (None, None)
        if not (isinstance(label, bytes) and len(label) == LABEL_BYTES and isinstance(stream, ByteStream)):
            raise DecodeError("what the gateway gives is no client")
        passage = Passage(stream, str(self._hop), self._open.discard)
        self._open.add(passage)
        acceptor.accepted(passage, Bridged(self._name, label.hex()))
