"""`nacl_tls`: what a program says for TLS in the place of Noise."""

from anyio.abc import ByteStream

from chanlink.limits import Limits
from chanlink.security.handshake import Admit, Authenticated
from chanlink.security.handshake_server import Met
from chanlink.security.security import Security, Side
from chanlink.security.statics import Statics

from . import handshake
from .certificate import needed
from .own import OwnKey


class NaclTls(Security):
    """TLS 1.3 between peers that have keys of chanlink (protocol section 18)."""

    def side(self, statics: Statics, limits: Limits) -> Side:
        needed()
        return _TlsSide(OwnKey(statics, limits))

    def __repr__(self) -> str:
        return "chanlink.nacl_tls"


class _TlsSide(Side):
    def __init__(self, own: OwnKey) -> None:
        self._own = own

    async def as_client(
        self, transport: ByteStream, admit: Admit, *, eager: bool = False, service: str = ""
    ) -> Authenticated:
        return await handshake.as_client(transport, self._own, admit, eager=eager, service=service)

    async def meet(self, transport: ByteStream) -> Met:
        return await handshake.meet(transport, self._own)

    async def turn_away(self, transport: ByteStream) -> None:
        await handshake.turn_away(transport)


nacl_tls: Security = NaclTls()
"""Say ``security=chanlink.nacl_tls`` on both sides for TLS 1.3 in the place of Noise. Needs the extra
``chanlink[tls]``."""
