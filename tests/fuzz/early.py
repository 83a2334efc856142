"""The target for what a client says by a prekey, and what a server answers (protocol section 2.4)."""

import time
from contextlib import suppress

import msgpack

from chanlink.errors import HandshakeError, SessionClosed, UntrustedPeer, WrongPeer
from chanlink.features import FEATURES
from chanlink.security.early.prekey import Prekey, made, read_prekey
from chanlink.security.early.prekeys import Prekeys
from chanlink.security.early_client import EarlyHandshake
from chanlink.security.early_server import EARLY_PROTOCOL, PrekeyMaker, meet_either
from chanlink.security.hello import MAX_EARLY_MESSAGE, hello_of
from chanlink.security.keys.certificate import CLOCK_SKEW, Role, certify
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.showing import Shown
from tests.security.wires import prefixed

from .targets import LIMITS, Bytes, anybody, certified, edited, good_payload, run, target

STATIC = KeyPair(bytes([0x21]) * 32)
_prekeys: list[Prekey] = []


def prekey() -> Prekey:
    """That of the server, made when first needed."""
    if not _prekeys:
        identity = certified()[Role.SERVER].identity
        certificate = run(certify(identity, STATIC.public, Role.PREKEY, int(time.time()), 1_200 + CLOCK_SKEW))
        _prekeys.append(made(STATIC.public, certificate, LIMITS.announced(), FEATURES))
    return _prekeys[0]


def maker() -> PrekeyMaker:
    """A server that has taken nothing yet."""
    made_here = PrekeyMaker(certified()[Role.SERVER].identity, LIMITS, is_loaded=lambda: False)
    made_here._prekeys = Prekeys(1e9)
    made_here._prekeys.add(prekey(), STATIC, 0.0)
    return made_here


def first(payload: bytes) -> bytes:
    """A hello and a message 1 with this payload, of a client that does the rest as it should."""
    hello, static = hello_of("IK", prekey=prekey().name), certified()[Role.CLIENT]._current
    assert static is not None
    noise = HandshakeState(EARLY_PROTOCOL, True, prologue=hello + prekey().packed, s=static[0], rs=STATIC.public)
    return hello + prefixed(noise.write_message(payload))


def to_a_client(payload: bytes) -> None:
    """A message 2 with this payload."""
    static = certified()[Role.CLIENT]._current
    assert static is not None
    server = certified()[Role.SERVER].identity.public_key
    shown = static[0], Shown(static[1])
    handshake = EarlyHandshake(prekey(), server, certified()[Role.CLIENT], shown, LIMITS)
    said = handshake.first(b"data")
    hello = said[: 11 + int.from_bytes(said[9:11], "big")]
    noise = HandshakeState(EARLY_PROTOCOL, False, prologue=hello + prekey().packed, s=STATIC)
    noise.read_message(said[len(hello) + 2 :])
    handshake.read_answer(Bytes(b""), noise.write_message(payload))


@target(MAX_EARLY_MESSAGE)
def early(data: bytes) -> None:
    """A prekey; raw bytes behind a hello by one; the payload of message 1 or 2, made up or a good one with changes."""
    mode, data = data[0] % 6 if data else 0, data[1:]
    you = certified()[Role.CLIENT].identity.public_key.raw
    good_answer = msgpack.packb({"code": "", "you": you, "suite": "chachapoly", "prekey": prekey().packed})
    good_first = msgpack.packb(msgpack.unpackb(good_payload(Role.CLIENT)) | {"data": b"x"})
    with suppress(HandshakeError, WrongPeer, UntrustedPeer, SessionClosed):
        if mode == 0:
            read_prekey(edited(prekey().packed, data) if len(data) < 40 else data).verify(int(time.time()))
        elif mode == 1:
            raw = hello_of("IK", prekey=prekey().name) + data
            run(meet_either(Bytes(raw), certified()[Role.SERVER], maker(), anybody, LIMITS))
        elif mode in (2, 3):
            said = first(data[:8_000] if mode == 2 else edited(good_first, data))
            run(meet_either(Bytes(said), certified()[Role.SERVER], maker(), anybody, LIMITS))
        else:
            to_a_client(data[:3_900] if mode == 4 else edited(good_answer, data))
