"""TLS 1.3 over a transport, by the standard library: for networks that let nothing else pass.

anyio has a stream of TLS, too. It can't send or receive what needs no waiting, passes on each record by itself, and
can't end one half of a connection.
"""

import ssl
from contextlib import suppress
from typing import Any, cast

import anyio
from anyio.streams.tls import TLSAttribute

from chanlink.errors import ConfigError, ConnectFailed

from .base import BROKEN, Transport, receive_some, send_whole
from .layered import LayeredTransport

HANDSHAKE = 16 * 1024
"""Bytes that are asked for at a time while it lasts."""
_WAITS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TlsTransport(LayeredTransport):
    """A connection of TLS whose handshake is over. `tls_over` makes one.

    The end comes by a ``close_notify``: a connection that ends without is broken. Either half ends alone.
    """

    def __init__(self, below: Transport, session: ssl.SSLObject, arriving: ssl.MemoryBIO, leaving: ssl.MemoryBIO):
        super().__init__(below)
        self._session, self._arriving, self._leaving = session, arriving, leaving
        self._needs_more = not arriving.pending

    def _encode(self, piece: bytes | memoryview) -> bytes:
        try:
            self._session.write(piece)
        except OSError as exc:
            raise anyio.BrokenResourceError(_reason_of(exc)) from exc
        return self._leaving.read()

    def _feed(self, data: memoryview) -> None:
        if data:
            self._arriving.write(data)
        else:
            self._arriving.write_eof()

    def _take(self, buffer: memoryview) -> int | None:
        try:
            size = cast(int | None, self._session.read(len(buffer), buffer))  # typeshed has it as bytes
        except _WAITS:
            size = None
        except ssl.SSLZeroReturnError:
            size = 0
        except OSError as exc:
            raise anyio.BrokenResourceError(_reason_of(exc)) from exc
        if self._leaving.pending:  # the peer has asked for new keys
            self._answer(self._leaving.read())
        return size

    def _farewell(self) -> bytes:
        with suppress(OSError):  # the peer's is not here yet, or data is
            self._session.unwrap()
        return self._leaving.read()

    @property
    def extra_attributes(self) -> Any:
        """Those of the transport below, and of TLS as anyio's stream has them."""
        session = self._session
        return {
            **super().extra_attributes,
            TLSAttribute.alpn_protocol: session.selected_alpn_protocol,
            TLSAttribute.cipher: session.cipher,
            TLSAttribute.peer_certificate: lambda: session.getpeercert(False),
            TLSAttribute.peer_certificate_binary: lambda: session.getpeercert(True),
            TLSAttribute.server_side: lambda: session.server_side,
            TLSAttribute.ssl_object: lambda: session,
            TLSAttribute.tls_version: session.version,
        }


async def tls_over(
    transport: Transport,
    context: ssl.SSLContext,
    hostname: str | None = None,
    *,
    server_side: bool = False,
    name: str = "",
    begun: bytes = b"",
) -> TlsTransport:
    """Make a handshake of TLS over a connection, which belongs to the result; if there is none, the caller closes it.

    ``hostname`` is whom the server's certificate has to name (an IP address, too), and ``name`` is what errors call the
    peer, in its place; ``begun`` is what has come of it before. Raises `ConnectFailed`: the peer speaks no TLS, or none
    of 1.3, or a certificate is not trusted.
    """
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = name or hostname or "the peer"
    if context.check_hostname and not (hostname or server_side):
        raise ConfigError(f"{name}: its certificate is to be compared with a hostname, and none is given")
    session = context.wrap_bio(arriving, leaving, server_side=server_side, server_hostname=hostname)
    arriving.write(begun)
    try:
        await _shake_hands(transport, session, arriving, leaving)
    except (OSError, anyio.EndOfStream, *BROKEN) as exc:
        raise ConnectFailed(f"{name}: {_why_not(exc)}") from exc
    if session.version() != "TLSv1.3":
        raise ConnectFailed(f"{name}: it offers {session.version()}, and we speak TLS 1.3 only")
    return TlsTransport(transport, session, arriving, leaving)


async def _shake_hands(
    transport: Transport, session: ssl.SSLObject, arriving: ssl.MemoryBIO, leaving: ssl.MemoryBIO
) -> None:
    done = False
    while not done:
        try:
            session.do_handshake()
            done = True
        except _WAITS:
            pass
        except ssl.SSLError:
            with suppress(OSError, *BROKEN):
                await send_whole(transport, leaving.read())  # it says why not
            raise
        if leaving.pending:
            await send_whole(transport, leaving.read())
        if not done:
            arriving.write(await receive_some(transport, HANDSHAKE))


def _why_not(exc: Exception) -> str:
    """Why there is no TLS, in one line with what helps."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not trusted ({exc.verify_message}): give an ssl_context that trusts it, or name a"
            " file with its authority in $SSL_CERT_FILE"
        )
    if not isinstance(exc, ssl.SSLError):
        return "it closed the connection during the handshake of TLS: does that port speak TLS 1.3?"
    reason = _reason_of(exc)
    if "alert" in reason:
        return f"it refused the handshake of TLS ({reason})"
    return f"no handshake of TLS ({reason}): does that port speak TLS 1.3?"


def _reason_of(exc: Exception) -> str:
    """What OpenSSL says, in its words."""
    return (getattr(exc, "reason", None) or str(exc) or type(exc).__name__).replace("_", " ").lower()
