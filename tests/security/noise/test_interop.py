"""Our Noise with two other implementations, in both roles, and what becomes of messages that are wrong."""

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream, SocketAttribute

import chanlink
from chanlink import HandshakeError, Identity, PublicKey, RemoteProtocolError, Trust
from chanlink.errors import LocalProtocolError
from chanlink.security.keys.certificate import Certificate, Role, certify
from chanlink.security.noise.cipher import CipherState
from chanlink.security.noise.patterns import find_pattern
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair, generate_keypair
from tests.patience import PATIENCE
from tests.security.wires import HELLO, prefixed, read_exactly, read_prefixed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of cryptography, about what these two import
    dissononce = pytest.importorskip("dissononce")
    noise_connection = pytest.importorskip("noise.connection", reason="noiseprotocol is not installed")
    from dissononce.cipher.chachapoly import ChaChaPolyCipher
    from dissononce.dh.keypair import KeyPair as OtherKeyPair
    from dissononce.dh.x25519.private import PrivateKey
    from dissononce.dh.x25519.public import PublicKey as OtherPublicKey
    from dissononce.dh.x25519.x25519 import X25519DH
    from dissononce.hash.blake2s import Blake2sHash
    from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
    from dissononce.processing.handshakepatterns.interactive.NK import NKHandshakePattern
    from dissononce.processing.handshakepatterns.interactive.NN import NNHandshakePattern
    from dissononce.processing.handshakepatterns.interactive.XX import XXHandshakePattern
    from dissononce.processing.impl.cipherstate import CipherState as OtherCipherState
    from dissononce.processing.impl.handshakestate import HandshakeState as OtherHandshakeState
    from dissononce.processing.impl.symmetricstate import SymmetricState as OtherSymmetricState
    from dissononce.processing.modifiers.psk import PSKPatternModifier

PATTERNS = ["XX", "XXpsk0", "NNpsk0", "IK", "NK"]
PSK = bytes(range(32))
PROLOGUE = b"prologue"


class Side(Protocol):
    """One side of a handshake, whoever has written it."""

    def write(self, payload: bytes) -> bytes: ...

    def read(self, message: bytes) -> bytes: ...

    def finish(self) -> bytes:
        """The handshake hash."""

    def seal(self, plaintext: bytes) -> bytes: ...

    def open(self, ciphertext: bytes) -> bytes: ...

    def rekey(self) -> None:
        """Of both directions."""


class Keys:
    """What a side is given for a pattern."""

    def __init__(self, pattern: str, initiator: bool, ours: KeyPair, theirs: KeyPair, prologue: bytes) -> None:
        shape = find_pattern(pattern)
        self.pattern = pattern
        self.initiator = initiator
        self.prologue = prologue
        self.static = ours if shape.needs_static(initiator) else None
        known = shape.responder_known if initiator else shape.initiator_known
        self.remote = theirs.public if known else None
        self.psk = PSK if shape.psk_count else None

    @property
    def name(self) -> str:
        return f"Noise_{self.pattern}_25519_ChaChaPoly_BLAKE2s"


class Ours:
    def __init__(self, keys: Keys) -> None:
        self.initiator = keys.initiator
        psks = [keys.psk] if keys.psk else []
        self.noise = HandshakeState(
            keys.name, keys.initiator, prologue=keys.prologue, s=keys.static, rs=keys.remote, psks=psks
        )
        self.write, self.read = self.noise.write_message, self.noise.read_message

    def finish(self) -> bytes:
        states = self.noise.split()
        self.sending, self.receiving = states if self.initiator else reversed(states)
        return self.noise.handshake_hash

    def seal(self, plaintext: bytes) -> bytes:
        return self.sending.encrypt_with_ad(b"", plaintext)

    def open(self, ciphertext: bytes) -> bytes:
        return self.receiving.decrypt_with_ad(b"", ciphertext)

    def rekey(self) -> None:
        self.sending.rekey()
        self.receiving.rekey()


class OfNoiseprotocol:
    def __init__(self, keys: Keys) -> None:
        self.noise = noise_connection.NoiseConnection.from_name(keys.name.encode())
        (self.noise.set_as_initiator if keys.initiator else self.noise.set_as_responder)()
        kinds = noise_connection.Keypair
        if keys.static is not None:
            self.noise.set_keypair_from_private_bytes(kinds.STATIC, keys.static.private)
        if keys.remote is not None:
            self.noise.set_keypair_from_public_bytes(kinds.REMOTE_STATIC, keys.remote)
        if keys.psk is not None:
            self.noise.set_psks(keys.psk)
        self.noise.set_prologue(keys.prologue)
        self.noise.start_handshake()

    def write(self, payload: bytes) -> bytes:
        return bytes(self.noise.write_message(payload))

    def read(self, message: bytes) -> bytes:
        return bytes(self.noise.read_message(message))

    def finish(self) -> bytes:
        assert self.noise.handshake_finished
        return bytes(self.noise.get_handshake_hash())

    def seal(self, plaintext: bytes) -> bytes:
        return bytes(self.noise.encrypt(plaintext))

    def open(self, ciphertext: bytes) -> bytes:
        return bytes(self.noise.decrypt(ciphertext))

    def rekey(self) -> None:
        self.noise.rekey_outbound_cipher()
        self.noise.rekey_inbound_cipher()


BASES = {"XX": XXHandshakePattern, "NN": NNHandshakePattern, "IK": IKHandshakePattern, "NK": NKHandshakePattern}


class OfDissononce:
    def __init__(self, keys: Keys) -> None:
        self.initiator = keys.initiator
        state = OtherSymmetricState(OtherCipherState(ChaChaPolyCipher()), Blake2sHash())
        self.noise = OtherHandshakeState(state, X25519DH())
        pattern = BASES[keys.pattern[:2]]()
        if keys.psk:
            pattern = PSKPatternModifier(0).modify(pattern)
        static = keys.static and OtherKeyPair(OtherPublicKey(keys.static.public), PrivateKey(keys.static.private))
        remote = keys.remote and OtherPublicKey(keys.remote)
        psks = (keys.psk,) if keys.psk else None
        self.noise.initialize(pattern, keys.initiator, keys.prologue, s=static, rs=remote, psks=psks)
        self.hash = self.noise.symmetricstate.get_handshake_hash

    def write(self, payload: bytes) -> bytes:
        buffer = bytearray()
        self.states = self.noise.write_message(payload, buffer)
        return bytes(buffer)

    def read(self, message: bytes) -> bytes:
        buffer = bytearray()
        self.states = self.noise.read_message(message, buffer)
        return bytes(buffer)

    def finish(self) -> bytes:
        self.sending, self.receiving = self.states if self.initiator else reversed(self.states)
        return bytes(self.hash())

    def seal(self, plaintext: bytes) -> bytes:
        return bytes(self.sending.encrypt_with_ad(b"", plaintext))

    def open(self, ciphertext: bytes) -> bytes:
        return bytes(self.receiving.decrypt_with_ad(b"", ciphertext))

    def rekey(self) -> None:
        self.sending.rekey()
        self.receiving.rekey()


OTHERS = pytest.mark.parametrize("other", [OfNoiseprotocol, OfDissononce])
MakeSide = Callable[[Keys], Any]


def make(initiator: MakeSide, responder: MakeSide, pattern: str) -> tuple[Any, Any]:
    ours, theirs = generate_keypair(), generate_keypair()
    return (
        initiator(Keys(pattern, True, ours, theirs, PROLOGUE)),
        responder(Keys(pattern, False, theirs, ours, PROLOGUE)),
    )


@OTHERS
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("we_begin", [True, False])
def test_a_handshake_with_another_implementation_ends_in_the_same_keys(
    other: MakeSide, pattern: str, we_begin: bool
) -> None:
    initiator, responder = make(Ours, other, pattern) if we_begin else make(other, Ours, pattern)
    for number in range(len(find_pattern(pattern).messages)):
        writer, reader = (initiator, responder) if number % 2 == 0 else (responder, initiator)
        payload = bytes([number]) * (number * 700)
        assert reader.read(writer.write(payload)) == payload
    assert initiator.finish() == responder.finish()
    for number in range(20):
        for one, two in ((initiator, responder), (responder, initiator)):
            text = b"message %d" % number * number * 100
            assert two.open(one.seal(text)) == text


def test_rekey_is_that_of_noiseprotocol() -> None:
    """dissononce's Rekey keeps 48 bytes as the key: it can't be compared."""
    initiator, responder = make(Ours, OfNoiseprotocol, "NNpsk0")
    responder.read(initiator.write(b""))
    initiator.read(responder.write(b""))
    assert initiator.finish() == responder.finish()
    for _ in range(3):
        initiator.rekey()
        responder.rekey()
        assert responder.open(initiator.seal(b"there")) == b"there"
        assert initiator.open(responder.seal(b"back")) == b"back"


# --- over TCP, with chanlink's own endpoints ------------------------------------------------------------

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


@pytest.fixture(autouse=True)
def _one_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """They know no other."""
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")


async def read_record(side: Side, stream: ByteStream) -> bytes:
    return side.open(await read_prefixed(stream))


@pytest.mark.anyio
@OTHERS
async def test_a_client_of_another_implementation_is_let_in_by_a_listener(other: MakeSide) -> None:
    trust = Trust.of(ALICE.public_key)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services={}) as listener:
        port = int(listener.addresses[0].rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            static = generate_keypair()
            side = other(Keys("XX", True, static, static, HELLO))
            await stream.send(HELLO + prefixed(side.write(b"")))
            offer = msgpack.unpackb(side.read(await read_prefixed(stream)))
            assert offer["suite"] == "chachapoly"
            now = int(time.time())
            assert Certificate(**offer["certificate"])
            certificate = await certify(ALICE, static.public, Role.CLIENT, now)
            answer = {"certificate": certificate.to_map(), "peer": SERVER.public_key.raw}
            await stream.send(prefixed(side.write(msgpack.packb(answer))))
            side.finish()
            welcome = await read_record(side, stream)
            assert welcome[0] == 3
            assert msgpack.unpackb(welcome[1:]) == {"code": "", "you": ALICE.public_key.raw}
            await stream.send(prefixed(side.seal(b"\1" + msgpack.packb({"code": "bye"}))))
            while (await read_record(side, stream))[0] != 1:
                pass


@pytest.mark.anyio
@OTHERS
async def test_a_server_of_another_implementation_is_taken_by_connect(other: MakeSide) -> None:
    heard: list[PublicKey] = []

    async def serve(stream: ByteStream) -> None:
        async with stream:
            start = await read_exactly(stream, 9)
            hello = start + prefixed(await read_prefixed(stream))
            static, now = generate_keypair(), int(time.time())
            side = other(Keys("XX", False, static, static, hello))
            assert side.read(await read_prefixed(stream)) == b""
            certificate = await certify(SERVER, static.public, Role.SERVER, now)
            offer = {"certificate": certificate.to_map(), "suite": "chachapoly"}
            await stream.send(prefixed(side.write(msgpack.packb(offer))))
            answer = msgpack.unpackb(side.read(await read_prefixed(stream)))
            side.finish()
            sshsig = answer["certificate"]["sshsig"]
            assert ALICE.public_key.raw in sshsig
            heard.append(ALICE.public_key)
            await stream.send(prefixed(side.seal(b"\3" + msgpack.packb({"code": "", "you": ALICE.public_key.raw}))))
            await stream.send(prefixed(side.seal(b"\1" + msgpack.packb({"code": "enough"}))))
            while (await read_record(side, stream))[0] != 1:
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        address = f"tcp://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        with anyio.fail_after(PATIENCE):
            async with chanlink.connect(address, identity=ALICE, peer=SERVER.public_key) as session:
                assert str(await session.wait_closed()) == "the session was closed: enough"
        tasks.cancel_scope.cancel()
    assert heard


# --- negative cases, generated --------------------------------------------------------------------------


def transcript(pattern: str) -> tuple[list[bytes], Callable[[], tuple[Ours, Ours]]]:
    """The messages of a handshake whose keys are always the same, and how to make its sides again."""
    pairs = [KeyPair(bytes([number]) * 32) for number in (1, 2, 3, 4)]

    def sides() -> tuple[Ours, Ours]:
        made = []
        for initiator, static, ephemeral, other in ((True, 0, 2, 1), (False, 1, 3, 0)):
            keys = Keys(pattern, initiator, pairs[static], pairs[other], PROLOGUE)
            side = Ours(keys)
            side.noise._e = pairs[ephemeral]
            made.append(side)
        return made[0], made[1]

    one, two = sides()
    messages = []
    for number in range(len(find_pattern(pattern).messages)):
        writer, reader = (one, two) if number % 2 == 0 else (two, one)
        messages.append(writer.write(b"payload"))
        reader.read(messages[-1])
    return messages, sides


def changes(message: bytes) -> Iterator[bytes]:
    for at in range(len(message)):
        yield message[:at] + bytes([message[at] ^ 1 << at % 8]) + message[at + 1 :]
        yield message[:at]
        yield message[:at] + message[at + 1 :]
        yield message[:at] + bytes([message[at] ^ 0x55]) + message[at:]
    yield message + b"\0"
    yield b""
    yield message + message


def negative_cases() -> Iterator[tuple[str, int, int]]:
    """Pattern, message, number of the case."""
    for pattern in PATTERNS:
        messages, _ = transcript(pattern)
        for index, message in enumerate(messages):
            for number, _ in enumerate(changes(message)):
                yield pattern, index, number


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_changed_message_fails_the_handshake(pattern: str) -> None:
    messages, sides = transcript(pattern)
    for index, message in enumerate(messages):
        for number, changed in enumerate(changes(message)):
            if changed == message:  # cutting one of two equal bytes out may give the same
                continue
            try:
                run_changed(sides(), messages, index, changed)
            except BaseException as exc:
                exc.add_note(f"{pattern}, message {index + 1}, case {number}")
                raise


def run_changed(sides: tuple[Ours, Ours], messages: list[bytes], index: int, changed: bytes) -> None:
    for number, message in enumerate(messages[:index]):
        assert sides[number % 2].write(b"payload") == message
        sides[(number + 1) % 2].read(message)
    writer, reader = sides[index % 2], sides[(index + 1) % 2]
    writer.write(b"payload")
    try:
        reader.read(changed)
    except HandshakeError:
        with pytest.raises(LocalProtocolError):
            reader.read(messages[index])
        return
    # Only what is not encrypted yet can pass: then the peers differ, and the next message fails.
    assert index == 0
    with pytest.raises(HandshakeError):
        writer.read(reader.write(b"payload"))


def test_these_are_more_than_two_thousand_cases() -> None:
    assert sum(1 for _ in negative_cases()) > 2_000


@pytest.mark.parametrize("pattern", PATTERNS)
def test_messages_of_another_handshake_or_out_of_order_fail(pattern: str) -> None:
    messages, sides = transcript(pattern)
    count = 0
    for index, other in itertools.product(range(len(messages)), repeat=2):
        if index != other:
            run_changed(sides(), messages, index, messages[other])
            count += 1
    strangers = [transcript(name)[0] for name in PATTERNS if name != pattern]
    for index, stranger in enumerate(itertools.chain(*strangers)):
        index %= len(messages)
        if stranger != messages[index] and not (index == 0 and len(stranger) == len(messages[0])):
            run_changed(sides(), messages, index, stranger)
            count += 1
    assert count > 5


def test_transport_messages_of_every_pattern_fail_when_changed() -> None:
    for pattern in PATTERNS:
        _, sides = transcript(pattern)
        one, two = sides()
        for number in range(len(find_pattern(pattern).messages)):
            writer, reader = (one, two) if number % 2 == 0 else (two, one)
            reader.read(writer.write(b""))
        one.finish()
        two.finish()
        sealed = one.seal(b"text")
        for changed in changes(sealed):
            if changed != sealed:
                with pytest.raises(RemoteProtocolError):
                    two.open(changed)
        assert two.open(sealed) == b"text"


def test_a_cipher_state_of_ours_has_no_use_for_what_it_has_sent() -> None:
    state = CipherState(bytes(32))
    with pytest.raises(RemoteProtocolError):
        state.decrypt_with_ad(b"", state.encrypt_with_ad(b"", b"text"))
