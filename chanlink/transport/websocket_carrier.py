"""What a program says to connect, or to listen, by WebSocket; nothing of it needs the library before it is used."""

import re
import ssl as tls
from collections.abc import Mapping
from types import MappingProxyType, NoneType

from chanlink.arguments import expect
from chanlink.errors import ConfigError

from .accepting import Listening
from .address import parse_address
from .base import Transport, close_at_once
from .carried import Carrier, CarrierListener, Means
from .layered_listening import LayeredListening
from .listen import listening_sockets
from .reaching import connect_socket
from .tls import tls_over
from .web_address import parse_web_address

_NO_TLS = "ssl goes with wss:// only: there is no TLS in ws://"
_NO_CERTIFICATE = "wss:// needs a certificate, WebSocketListener(url, ssl=context); behind a proxy that has one: ws://"
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_HEADER = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t -~]*")
_OURS = re.compile(r"(?:host|connection|upgrade|content-length|transfer-encoding|sec-websocket-.*)", re.IGNORECASE)


class WebSocket(Carrier):
    """A server that is reached by WebSocket: ``wss://host:port/path`` (TLS; port 443 if none is given) or ``ws://``
    (port 80). The session inside is encrypted and authenticated as any other. It needs ``pip install 'chanlink[ws]'``.

    Its text is an address by itself; this class is for what a text does not say. Immutable, and used again for each
    connection.
    """

    remote = True

    def __init__(
        self, url: str, *, ssl: tls.SSLContext | None = None, headers: Mapping[str, str] = _NO_HEADERS
    ) -> None:
        """``ssl`` says which certificates are trusted, of ``wss://`` only: those of the system if it is not given.
        ``headers`` are sent with the request: what a proxy in front wants, such as ``Authorization``. They are in no
        text, and in no log. Raises `AddressError`, `ConfigError`."""
        self._address = parse_web_address(url)
        expect("ssl", ssl, tls.SSLContext, NoneType)
        expect("headers", headers, Mapping)
        if ssl is not None and not self._address.secure:
            raise ConfigError(_NO_TLS)
        for name, value in headers.items():
            _check_header(name, value)
        self._headers = dict(headers)
        self._ssl = ssl

    def __str__(self) -> str:
        """As it stands in files of known peers."""
        return str(self._address)

    def __repr__(self) -> str:
        return f"<WebSocket {self}>"

    async def connect_with(self, means: Means) -> Transport:
        """Connect, by TCP as ``means`` says. Raises `ConnectFailed`, and `ConfigError` without the library."""
        from .upgrade import upgrade_as_client
        from .websockets_library import say_if_slow

        say_if_slow()
        transport: Transport = await (means.tcp or connect_socket)(self._address.tcp)
        try:
            if self._address.secure:
                self._ssl = self._ssl or _trusting_the_system()
                transport = await tls_over(transport, self._ssl, self._address.tcp.host, name=str(self))
            return await upgrade_as_client(transport, self._address, self._headers)
        except BaseException:
            await close_at_once(transport)
            raise


class WebSocketListener(CarrierListener):
    """Where to listen for WebSockets: ``wss://host:port/path`` with a context of TLS, or ``ws://host:port/path`` behind
    a proxy that has it. It listens when it is given to `listen` or `serve`. It needs ``pip install 'chanlink[ws]'``.

    ``ws://`` as a text is the same without options.
    """

    def __init__(self, url: str, *, ssl: tls.SSLContext | None = None, forwarded: bool = False) -> None:
        """``ssl`` has the certificate of this server, and is for ``wss://``. With ``forwarded``, a client comes from
        the last address in ``X-Forwarded-For``: only for what a proxy of yours alone can reach, or anybody can be
        anybody. Raises `AddressError`, `ConfigError`."""
        self._address = parse_web_address(url)
        expect("ssl", ssl, tls.SSLContext, NoneType)
        expect("forwarded", forwarded, bool)
        if self._address.secure != (ssl is not None):
            raise ConfigError(_NO_TLS if ssl is not None else _NO_CERTIFICATE)
        self._ssl = ssl
        self._forwarded = forwarded

    def __repr__(self) -> str:
        return f"<WebSocketListener {self._address}>"

    async def listening(self, *, shared: bool = False) -> Listening:
        """Listen. Raises `ConnectFailed`, and `ConfigError` without the library."""
        from .websockets_library import say_if_slow

        say_if_slow()
        below = await listening_sockets(self._address.tcp, shared=shared)
        addresses = [str(self._address._replace(tcp=parse_address(one))) for one in below.addresses]
        return LayeredListening(below, self._open, addresses)

    async def _open(self, transport: Transport) -> Transport:
        from .upgrade import upgrade_as_server

        if self._ssl is not None:
            transport = await tls_over(transport, self._ssl, server_side=True)
        return await upgrade_as_server(transport, self._address.path, forwarded=self._forwarded)


def _trusting_the_system() -> tls.SSLContext:
    context = tls.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_header(name: object, value: object) -> None:
    expect("the name of a header", name, str)
    expect("the value of a header", value, str)
    assert isinstance(name, str)
    assert isinstance(value, str)
    if not (_HEADER.fullmatch(name) and _VALUE.fullmatch(value)):
        raise ConfigError(f"{name!r:.100} can't be a header: names are letters and - only, values one line of ASCII")
    if _OURS.fullmatch(name):
        raise ConfigError(f"the header {name} is said by the upgrade itself")
