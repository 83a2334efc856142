"""The keys of records, and how they are renewed while data flows on (protocol sections 3.4 to 3.6).

No I/O and no clock. `RecordKeys` is one side's half of both directions. Each direction has a `CipherState`, whose key
is replaced by REKEY after a number of records. And from time to time both sides do a Diffie-Hellman inside rekey
records, which begins a new epoch: whoever learns the keys of one epoch can read neither the ones before nor the ones
after.

    client                                        server
      |  <- 0 ---------------------------------   |   (only if the server is the first to want it)
      |  -- 1  psk, e ------------------------>   |
      |  <- 2  e, ee --------------------------   |   the server sends under its new key from here on
      |  -- 3 -------------------------------->   |   and so does the client

Each side replaces its sending key right after its own last word under the old one, and its receiving key right after
the other side's; both orders are those of the connection, so that nothing has to say which key a record is under. What
is received only queues an answer in `_queued`: whoever writes next takes it by `next_record`.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import NamedTuple

from chanlink.errors import ConnectionLost, HandshakeError, LocalProtocolError, RemoteProtocolError
from chanlink.limits import Bucket
from chanlink.security.noise.cipher import CipherState
from chanlink.security.noise.state import HandshakeState, hkdf

from .payloads import CREDENTIAL_MAX
from .suites import Suite

PROTOCOL_NAME = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s"
HASH = "blake2s"
REKEY = 2
"""The kind of the record."""
EXPORTER = b"chanlink exporter v1"

FORKED = "this process was forked from the one that has this session; a child opens its own"

ASK, START, ANSWER, DONE, SHOW = 0, 1, 2, 3, 4
"""The numbers of rekey records. The last one is no part of a renewal: it shows a credential."""


class Thresholds(NamedTuple):
    """When keys are renewed. Both sides of a session have the same ``records``."""

    records: int = 2**14
    """Of one direction, under one key."""
    seconds: float = 120.0
    """The age at which the client starts a new epoch."""
    volume: int = 2**30
    """The bytes of both directions at which either side does."""
    server_seconds: float = 150.0
    """The age at which the server asks for what the client should have started."""
    lost_seconds: float = 180.0
    lost_volume: int = 2**31
    patience: float = 30.0
    """What the other side has in any case: it is asked late by a process that has slept."""
    burst: int = 100
    a_second: float = 10.0
    """How often the other side may begin: each time costs two operations on the curve."""


class Secrets(NamedTuple):
    """What a handshake leaves: the keys of both directions, and what other secrets come of."""

    client_key: bytes
    server_key: bytes
    exporter_secret: bytes
    h: bytes

    def __repr__(self) -> str:
        return "<Secrets>"

    def without_keys(self) -> "Secrets":
        """What may be kept: whoever learns it can read none of the records."""
        return self._replace(client_key=b"", server_key=b"")

    def export(self, label: str, length: int) -> bytes:
        """A further secret of the two sides (protocol section 3.6). Raises `ValueError` for what there is none for."""
        if not (label.isascii() and 0 < len(label) <= 255):
            raise ValueError("a label is ASCII, of 1 to 255 characters")
        if not 0 < length <= 255 * 32:
            raise ValueError("a secret has 1 to 8160 bytes")
        if not self.exporter_secret:
            raise LocalProtocolError("the secrets of this session are forgotten")
        info = EXPORTER + bytes([len(label)]) + label.encode() + self.h + length.to_bytes(2, "big")
        exported = block = b""
        for number in range(1, -(-length // 32) + 1):
            block = hmac.digest(self.exporter_secret, block + info + bytes([number]), HASH)
            exported += block
        return exported[:length]


FORGOTTEN = Secrets(b"", b"", b"", b"")


def secrets_of(noise: HandshakeState) -> Secrets:
    """The secrets of a finished handshake, which is consumed."""
    client, server = noise.split()
    assert client.k is not None
    assert server.k is not None
    return Secrets(client.k, server.k, noise.exporter_secret, noise.handshake_hash)


class RecordKeys:
    """What seals and opens one side's records."""

    epoch = 0
    forgotten = False
    """Whether `forget` was called."""

    def __init__(
        self,
        secrets: Secrets,
        suite: Suite,
        *,
        client_side: bool,
        now: float,
        plain: memoryview,
        thresholds: Thresholds | None = None,
    ) -> None:
        self.suite = suite
        self._plain = plain  # room for one plaintext
        self._client_side = client_side
        self._thresholds = thresholds or Thresholds()
        # The keys themselves are only in the cipher states, which forget them: by REKEY, and with the epoch.
        self._secrets = secrets.without_keys()
        self._sending = self._cipher_state(secrets.client_key if client_side else secrets.server_key)
        self._receiving = self._cipher_state(secrets.server_key if client_side else secrets.client_key)
        self._began = now
        self._volume = self._volume_before = 0
        self._waits_since: float | None = None
        """Since when this side waits for the other's next rekey record."""
        self._queued: tuple[int, bytes] | None = None
        self._expected = self._first_words()
        self._noise: HandshakeState | None = None
        self._next: Secrets | None = None
        self._allowance = Bucket(self._thresholds.burst, self._thresholds.a_second)
        self._may_show = False
        self._shown: bytes | None = None
        self._take_shown: Callable[[bytes], None] | None = None

    def _cipher_state(self, key: bytes) -> CipherState:
        return CipherState(key, cipher=self.suite.cipher)

    def _first_words(self) -> set[int]:
        """The rekey records that the other side may begin with."""
        return {ASK} if self._client_side else {START}

    @property
    def volume(self) -> int:
        """Bytes of records of both directions, over all epochs."""
        return self._volume_before + self._volume

    # --- records --------------------------------------------------------------------------------

    def seal(self, kind: int, body: Iterable[bytes | bytearray | memoryview], out: memoryview) -> int:
        """Write the ciphertext of our next record to the beginning of ``out``; returns its length.

        The body comes in parts. Raises `LocalProtocolError` for one that is too long.
        """
        plain, size = self._plain, 1
        plain[0] = kind
        for part in body:
            end = size + len(part)
            if end > len(plain):
                raise LocalProtocolError("the body does not fit in a record")
            plain[size:end] = part
            size = end
        sending = self._sending
        length = sending.encrypt_into(plain[:size], out)
        self._volume += length
        if sending.n % self._thresholds.records == 0:
            sending.rekey()
        return length

    def open(self, ciphertext: memoryview) -> memoryview:
        """The plaintext of the peer's next record, until the next call. Raises `RemoteProtocolError` if it is not
        that."""
        receiving = self._receiving
        length = receiving.decrypt_into(ciphertext, self._plain)
        self._volume += len(ciphertext)
        if receiving.n % self._thresholds.records == 0:
            receiving.rekey()
        return self._plain[:length]

    def forget(self) -> None:
        """Drop all keys: another process has the same, and two records must not have one nonce. For good."""
        self.forgotten = True
        self._sending.forget()
        self._receiving.forget()
        if self._noise is not None:
            self._noise.forget()
        self._secrets, self._next, self._queued = FORGOTTEN, None, None
        self._waits_since = 0.0  # so that it is never time to begin

    # --- renewal --------------------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Have this side begin a new epoch by its next record: somebody else may have the keys of this one."""
        self._queued = (START, self._start()) if self._client_side else (ASK, b"")

    def has_record(self, now: float) -> bool:
        """Whether there is a rekey record to send: an answer, or it is time to begin."""
        return self._queued is not None or self._is_time(now)

    def check(self) -> None:
        """Raises `ConnectionLost` when too much was sent while the other side has not answered, or the keys are
        forgotten."""
        if self.forgotten:
            raise ConnectionLost(FORKED)
        if self._waits_since is not None and self._volume > self._thresholds.lost_volume:
            raise ConnectionLost("the peer did not renew the keys, and too much was sent under the old ones")

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        """Raises `ConnectionLost` when the other side has not answered for too long. ``overdue`` says whether that is
        its fault."""
        limits = self._thresholds
        if self._waits_since is None or self.forgotten:
            return
        since = max(self._waits_since, self._began + limits.lost_seconds - limits.patience)
        if overdue(since, limits.patience):
            raise ConnectionLost("the peer did not renew the keys in time")

    def next_record(self, now: float, out: memoryview) -> int:
        """Write our next rekey record as `seal`; what is sealed after it may be under a new key. Only if
        `has_record`."""
        if self._queued is None:
            self._queued = (START, self._start()) if self._client_side else (ASK, b"")
        (number, message), self._queued = self._queued, None
        length = self.seal(REKEY, [bytes([number]), message], out)
        self._waits_since = now
        if number == START:
            self._expected.add(ANSWER)
        elif number == ANSWER:
            self._sending = self._cipher_state(self._new().server_key)
            self._expected = {DONE}
        elif number == DONE:
            self._sending = self._cipher_state(self._new().client_key)
            self._finish(now)
        return length

    def receive(self, body: bytes, now: float) -> None:
        """Take the body of the peer's rekey record. Raises `RemoteProtocolError`, and the session is over then."""
        number, message = body[0] if body else -1, body[1:]
        if number not in self._expected and not (number == SHOW and self._may_show):
            raise RemoteProtocolError("a rekey record out of turn")
        if number in (ASK, START, SHOW) and not self._allowance.take(now):
            raise RemoteProtocolError("the peer renews the keys too often")
        if number == SHOW:
            self._take_credential(message)
            return
        if number in (ASK, DONE) and message:
            raise RemoteProtocolError("a rekey record with something in it")
        self._expected.discard(number)
        if number == ASK:
            self._asked()
        elif number == START:
            self._started(message)
        elif number == ANSWER:
            self._answered(message)
        else:
            self._receiving = self._cipher_state(self._new().client_key)
            self._finish(now)

    # --- credentials ----------------------------------------------------------------------------

    def expect_credentials(self) -> None:
        """The other side may show a newer credential at any time: both have said that they know of that."""
        self._may_show = True

    def on_credential(self, take: Callable[[bytes], None]) -> None:
        """Have ``take`` called with each credential that the other side shows, and now with one that it has shown."""
        self._take_shown = take
        if self._shown is not None:
            shown, self._shown = self._shown, None
            take(shown)

    @property
    def may_show(self) -> bool:
        """Whether each side may show a newer credential."""
        return self._may_show

    def _take_credential(self, blob: bytes) -> None:
        if not 1 <= len(blob) <= CREDENTIAL_MAX:
            raise RemoteProtocolError("a credential of a length that there is not")
        if self._take_shown is None:
            self._shown = blob
        else:
            self._take_shown(blob)

    # --- renewal, inside ------------------------------------------------------------------------

    def _is_time(self, now: float) -> bool:
        if self._waits_since is not None:
            return False
        limits = self._thresholds
        age = limits.seconds if self._client_side else limits.server_seconds
        # `_next` is there while an answer is under way.
        return self._next is None and (now - self._began >= age or self._volume >= limits.volume)

    def _start(self) -> bytes:
        self._noise = self._handshake()
        return self._noise.write_message()

    def _asked(self) -> None:
        if self._noise is None:  # else they crossed: ours is the answer
            self._queued = (START, self._start())

    def _started(self, message: bytes) -> None:
        noise = self._handshake()
        answer = self._read(noise, message)
        self._next = secrets_of(noise)
        self._queued = (ANSWER, answer)  # in place of a request of ours that has not left

    def _answered(self, message: bytes) -> None:
        assert self._noise is not None
        self._read(self._noise, message)
        self._next = secrets_of(self._noise)
        self._receiving = self._cipher_state(self._next.server_key)
        self._waits_since = None
        self._expected = set()
        self._queued = (DONE, b"")

    def _read(self, noise: HandshakeState, message: bytes) -> bytes:
        """Take a message of the inner handshake; returns the answer, if there is one."""
        try:
            if noise.read_message(message):
                raise RemoteProtocolError("a rekey record with something in it")
            return noise.write_message() if not noise.finished else b""
        except HandshakeError as exc:
            raise RemoteProtocolError("a rekey record failed authentication") from exc

    def _handshake(self) -> HandshakeState:
        secrets = self._secrets
        prologue = secrets.h + (self.epoch + 1).to_bytes(8, "big") + self.suite.name.encode()
        (psk,) = hkdf(HASH, secrets.exporter_secret, secrets.h, 1)
        return HandshakeState(PROTOCOL_NAME, self._client_side, prologue=prologue, psks=[psk])

    def _new(self) -> Secrets:
        if self._next is None:
            raise LocalProtocolError("there are no new keys yet")
        return self._next

    def _finish(self, now: float) -> None:
        """The new epoch has begun in both directions."""
        self._secrets = self._new().without_keys()
        self._next = self._noise = self._waits_since = None
        self.epoch += 1
        self._began = now
        self._volume_before += self._volume
        self._volume = 0
        self._expected = self._first_words()
