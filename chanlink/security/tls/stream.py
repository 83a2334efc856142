"""What remains of a handshake in TLS: records as after Noise, of which TLS has the keys (protocol section 18.4)."""

import hashlib
from collections.abc import Iterable
from typing import NoReturn

from anyio.streams.tls import TLSAttribute

from chanlink import clock
from chanlink.errors import ConnectionLost, LocalProtocolError
from chanlink.security.buffers import loop_buffers
from chanlink.security.noise.cipher import CHACHAPOLY, CipherState
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import FORGOTTEN, RecordKeys
from chanlink.security.stream import ID_BYTES, ID_LABEL
from chanlink.security.suites import Suite
from chanlink.transport.tls import TlsTransport

MOST_SENT = 2**38
"""Bytes that leave under the keys of one connection, which are never renewed: what AES-GCM is good for (RFC 8446,
section 5.5), with room for short records."""


def suite_of(tls: TlsTransport) -> Suite:
    """TLS's own. Of the cipher only the length of the tag is used: no record is longer than one of Noise."""
    return Suite(tls.extra(TLSAttribute.cipher)[0], CHACHAPOLY)


def finished_of(tls: TlsTransport) -> bytes:
    """What the client's Finished message said: of this connection, and of no other one."""
    said = tls.extra(TLSAttribute.ssl_object).get_channel_binding("tls-unique")
    assert said is not None  # after the handshake
    return said


class TlsKeys(RecordKeys):
    """What makes records and reads them where TLS has the keys. There is nothing to renew."""

    def __init__(self, suite: Suite, *, client_side: bool) -> None:
        super().__init__(FORGOTTEN, suite, client_side=client_side, now=clock.now(), plain=loop_buffers().plain)
        self._sent = 0

    def _cipher_state(self, key: bytes) -> CipherState:
        return CipherState()

    def _first_words(self) -> set[int]:
        return set()

    def _is_time(self, now: float) -> bool:
        return False

    def seal(self, kind: int, body: Iterable[bytes | bytearray | memoryview], out: memoryview) -> int:
        out[0], size = kind, 1
        for part in body:
            end = size + len(part)
            if end > self.suite.max_body + 1:
                raise LocalProtocolError("the body does not fit in a record")
            out[size:end] = part
            size = end
        self._volume += size
        self._sent += size
        return size

    def open(self, ciphertext: memoryview) -> memoryview:
        self._volume += len(ciphertext)
        return ciphertext

    def check(self) -> None:
        super().check()
        if self._sent > MOST_SENT:
            raise ConnectionLost("more was sent than the keys of one connection of TLS are good for: connect again")


class TlsStream(NoiseStream):
    """A `NoiseStream` whose transport is TLS, and whose records need no keys of their own.

    It has no secrets for others.
    """

    def __init__(self, tls: TlsTransport, *, client_side: bool) -> None:
        keys = TlsKeys(suite_of(tls), client_side=client_side)
        self._record_keys = keys
        self._id = hashlib.sha256(ID_LABEL.encode() + finished_of(tls)).digest()[:ID_BYTES].hex()
        super().__init__(tls, keys, FORGOTTEN, loop_buffers())

    def export(self, label: str, length: int) -> NoReturn:
        raise ValueError("a session in TLS has no secrets for others: the standard library gives none")

    @property
    def id(self) -> str:
        return self._id

    def expect_credentials(self) -> None:
        """Both sides have said that they know of newer ones."""
        self._record_keys.expect_credentials()
