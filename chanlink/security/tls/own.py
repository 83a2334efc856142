"""What a process authenticates itself with in TLS: a key of its own, and what its identity says of that."""

import ssl
import time

import anyio
import msgpack

from chanlink.features import FEATURES
from chanlink.limits import Limits
from chanlink.security.certified import Certified
from chanlink.security.keys.certificate import Certificate, certify
from chanlink.security.keys.threads import run_apart
from chanlink.security.showing import Shown, understood
from chanlink.security.statics import Statics

from .certificate import NAMESPACE, TlsKey, client_context, server_context


class OwnKey(Certified[TlsKey]):
    """The key of one side, and what TLS has to know of it."""

    def __init__(self, statics: Statics, limits: Limits) -> None:
        """``statics`` say who we are, and what vouches for that; their static key is not used."""
        super().__init__()
        self.statics = statics
        self.limits = limits
        """What this side accepts."""
        self.client_context = client_context()
        self._server_context: tuple[Shown, ssl.SSLContext] | None = None
        self._loading = anyio.Lock()

    def forget(self) -> None:
        """In a forked child: it makes a key of its own."""
        super().forget()
        self._server_context = None
        self._loading = anyio.Lock()

    async def shown(self) -> tuple[TlsKey, Shown]:
        """The key, and what is shown for it. Raises as `current`."""
        key, certificate = await self.current()
        return key, Shown(certificate, *await self.statics.vouched())

    async def server_context(self) -> tuple[TlsKey, ssl.SSLContext]:
        """The key, and what shows it to clients. Raises as `current`, and `OSError` where no file can be written."""
        async with self._loading:  # once for all tasks that wait for it
            key, shown = await self.shown()
            if self._server_context is None or self._server_context[0] != shown:
                extension = msgpack.packb({**shown.entries(), **understood(self.limits, FEATURES)})
                context = await run_apart(server_context, key, shown.certificate, extension)
                self._server_context = shown, context
            return key, self._server_context[1]

    async def _make(self) -> tuple[TlsKey, Certificate]:
        key, statics = TlsKey.generate(), self.statics
        now = int(time.time())
        return key, await certify(statics.identity, key.hash, statics.role, now, namespace=NAMESPACE)
