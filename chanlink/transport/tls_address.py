"""``tls://host:port``: a tunnel of TLS 1.3, for networks that let nothing else pass; our own handshake is inside.

TLS says here which machine it is, to whoever stands between; who the server is, its key says, as everywhere.
"""

import ssl
from functools import partial
from types import NoneType

from chanlink.arguments import expect
from chanlink.errors import AddressError

from .accepting import Listening
from .address import Address, parse_address
from .base import Transport, close_at_once
from .carried import Carrier, CarrierListener, Means
from .layered_listening import LayeredListening
from .listen import listening_sockets
from .reaching import connect_socket
from .tls import tls_over

TLS_PORT = 443
"""Networks that let nothing pass but TLS let it pass there, and so do their proxies."""
_TCP, _TLS = "tcp://", "tls://"


class Tls(Carrier):
    """An address for `connect`: a server that a `TlsListener`, or a TLS proxy before it, listens for.

    ``ssl_context`` says which certificates are trusted; without it, those of the system's authorities for this host
    name (or of ``$SSL_CERT_FILE``). As a text it is ``tls://host:port``. Raises `TypeError`, `AddressError`.
    """

    remote = True

    def __init__(self, host: str, port: int = TLS_PORT, *, ssl_context: ssl.SSLContext | None = None) -> None:
        expect("host", host, str)
        expect("port", port, int)
        expect("ssl_context", ssl_context, ssl.SSLContext, NoneType)
        self._address = _address_of(f"{_TLS}[{host}]:{port}" if ":" in host else f"{_TLS}{host}:{port}")
        self._context = ssl_context

    async def connect_with(self, means: Means) -> Transport:
        """As a `Carrier`."""
        tcp = means.tcp or connect_socket
        if self._context is None:
            self._context = ssl.create_default_context()
        transport = await tcp(self._address)
        try:
            return await tls_over(transport, self._context, self._address.host.partition("%")[0], name=str(self))
        except BaseException:
            await close_at_once(transport)
            raise

    def __str__(self) -> str:
        return _text_of(str(self._address))

    def __repr__(self) -> str:
        return f"Tls({str(self)!r})"


class TlsListener(CarrierListener):
    """Where to `listen`: at this ``tls://host:port``, with an ``ssl_context`` of servers, which has the certificate.

    It may also ask clients for certificates: that is besides their keys. Raises `TypeError`, `AddressError`.
    """

    def __init__(self, address: str, ssl_context: ssl.SSLContext) -> None:
        expect("address", address, str)
        expect("ssl_context", ssl_context, ssl.SSLContext)
        self._address = _address_of(address)
        self._context = ssl_context

    async def listening(self, *, shared: bool = False) -> Listening:
        """As a `CarrierListener`."""
        below = await listening_sockets(self._address, shared=shared)
        layer = partial(tls_over, context=self._context, server_side=True)
        return LayeredListening(below, layer, [_text_of(address) for address in below.addresses])


def read_tls(text: str) -> Tls:
    """Read ``tls://host:port`` (port 443 if none is given). Raises `AddressError`."""
    address = _address_of(text)
    return Tls(address.host, address.port)


def _text_of(address: str) -> str:
    return _TLS + address.removeprefix(_TCP)


def _address_of(text: str) -> Address:
    problem = AddressError(f"{text!r:.300} is no address; write tls://host:port or tls://[ipv6]:port")
    if not text.startswith(_TLS):
        raise problem
    try:
        return parse_address(_TCP + text.removeprefix(_TLS), TLS_PORT)
    except AddressError:
        raise problem from None
