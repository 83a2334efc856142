"""Every first message is taken once at most, by one process; and what a recording of it can do.

The attacker has all that was said, delivers it elsewhere, later or changed, and may have a prekey's secret half.
"""

import time

import anyio
import pytest

from chanlink import ConnectionLost, HandshakeError, Identity, KeyFormatError, Limits, SessionError, clock
from chanlink.security import early_server
from chanlink.security.early import prekeys as prekeys_module
from chanlink.security.early.prekeys import REMEMBERED
from chanlink.security.early_server import LIFE, TakenStream, life_of
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.certificate import Role
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair, dh, generate_keypair
from chanlink.security.payloads import EARLY_FIRST, read

from .early_pairs import Client, Server, answer, ask, connection, met, taken
from .handshakes import ALICE, SERVER, packed
from .wires import flipped, prefixed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]

DATA = b"the first words"


class Time:
    """Runs as a test says, from a whole second on: sums are exact, whatever the clock of this machine says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(int(clock.now()))
        monkeypatch.setattr(clock, "now", lambda: self.now)


async def first_of(server: Server) -> bytes:
    """What a client begins with, and all that a recording of it has."""
    return (await Client(await server.prekey()).handshake()).first(DATA)


async def deliver(server: Server, said: bytes) -> tuple[Authenticated | Exception, bytes]:
    """What the server makes of it on a connection of its own, and says. A client that was declined has left."""
    here, there = connection(patient=False)
    await here.send(said)
    async with met(server, there) as outcomes:
        if not outcomes:
            await here.send_eof()
    return outcomes[0], bytes(there.sent)


# --- again, later, changed ---------------------------------------------------------------------------


async def test_a_first_message_that_is_delivered_again_is_closed_without_a_word() -> None:
    server = Server()
    said = await first_of(server)
    one, _ = await deliver(server, said)
    assert await taken(one).stream.receive() == DATA
    for _ in range(2):
        again, words = await deliver(server, said)
        assert isinstance(again, HandshakeError)
        assert "twice" in str(again)
        assert not words
    assert len(server.admitted) == 1


async def test_one_that_was_changed_is_closed_and_the_true_one_elsewhere_is_taken_once() -> None:
    server, (here, there) = Server(), connection()
    here.edit = flipped(300)
    client = await Client(await server.prekey()).stream(here)
    async with met(server, there) as outcomes:
        with pytest.raises(HandshakeError) as caught:
            await ask(client, DATA)
    assert caught.value.code == "no-answer"
    assert isinstance(outcomes[0], HandshakeError)
    elsewhere, _ = await deliver(server, bytes(here.sent))
    assert await taken(elsewhere).stream.receive() == DATA
    assert len(server.admitted) == 1


async def test_one_that_was_declined_is_not_taken_elsewhere_when_its_client_went_on() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    server.is_loaded = True
    async with met(server, there, then=answer):
        await ask(client, DATA)
    assert client.early == "sent again"
    server.is_loaded = False
    hello = 11 + int.from_bytes(here.sent[9:11], "big")
    first = bytes(here.sent[: hello + 2 + int.from_bytes(here.sent[hello : hello + 2], "big")])
    elsewhere, words = await deliver(server, first)
    assert isinstance(elsewhere, HandshakeError)
    assert not words


async def test_one_that_was_taken_elsewhere_meanwhile_ends_the_handshake_of_its_client() -> None:
    """It was declined under load; before its client has finished the other handshake, the attacker has it taken."""
    server, (here, there), other = Server(), connection(), connection()
    prekey = await server.prekey()
    client = await Client(prekey).stream(here)
    server.is_loaded = True

    elsewhere: list[Authenticated | Exception] = []
    held: list[tuple[int, bytes]] = []

    def hold(at: int, data: bytes) -> bytes:
        """Message 3 is held back."""
        held.append((at, data))
        return data if len(held) < 3 else b""

    here.edit = hold
    async with met(server, there) as outcomes, anyio.create_task_group() as tasks:

        async def client_side() -> None:
            with pytest.raises(SessionError):
                await ask(client, DATA)

        tasks.start_soon(client_side)
        while len(held) < 3:
            await anyio.sleep(0.001)
        server.is_loaded = False
        await other[0].send(held[0][1])
        elsewhere.append(await server.meet(other[1]))
        there.feed(held[2][1])
    assert await taken(elsewhere[0]).stream.receive() == DATA
    assert isinstance(outcomes[0], HandshakeError)
    assert "twice" in str(outcomes[0])


async def test_one_that_is_held_until_its_prekey_has_ended_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    server, time_ = Server(), Time(monkeypatch)
    said = await first_of(server)
    time_.now += LIFE
    for _ in range(2):
        late, words = await deliver(server, said)
        assert isinstance(late, HandshakeError)
        assert words.startswith(b"\0\0")
    assert not server.admitted


async def test_one_that_was_taken_is_known_until_no_client_would_believe_that_it_was_declined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, time_ = Server(), Time(monkeypatch)
    said = await first_of(server)
    time_.now += LIFE - 1
    one, _ = await deliver(server, said)
    assert taken(one).key == ALICE.public_key
    time_.now += REMEMBERED
    again, words = await deliver(server, said)
    assert isinstance(again, HandshakeError)
    assert not words
    time_.now += 2  # now it was sent 62 s ago at least, and its client takes no answer after 30
    later, words = await deliver(server, said)
    assert words.startswith(b"\0\0")
    assert isinstance(later, HandshakeError)
    assert len(server.admitted) == 1


async def test_a_full_memory_ends_the_prekey_and_another_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prekeys_module, "MOST_REMEMBERED", 2)
    server = Server()
    old = await server.prekey()
    said = [(await Client(old).handshake()).first(DATA) for _ in range(3)]
    for one in said[:2]:
        assert taken((await deliver(server, one))[0]).key == ALICE.public_key
    declined, words = await deliver(server, said[2])
    assert isinstance(declined, HandshakeError)
    assert words.startswith(b"\0\0")
    again, words = await deliver(server, said[0])
    assert isinstance(again, HandshakeError)
    assert not words
    assert (await server.prekey()).name != old.name
    assert taken((await deliver(server, await first_of(server)))[0])


async def test_a_message_for_another_server_with_the_same_prekey_is_closed() -> None:
    server = Server()
    prekey = await server.prekey()
    handshake = await Client(prekey).handshake()
    handshake._said["peer"] = ALICE.public_key.raw
    other, words = await deliver(server, handshake.first(DATA))
    assert isinstance(other, HandshakeError)
    assert "another server" in str(other)
    assert not words


# --- a recording has no records --------------------------------------------------------------------------


async def test_a_session_is_live_when_the_first_record_has_come() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    live: list[bool] = []

    async def look(peer: Authenticated) -> None:
        live.append(peer.stream.is_live)
        peer.stream.on_live(lambda: live.append(True))
        await answer(peer)
        with pytest.raises(anyio.EndOfStream):
            await peer.stream.receive()

    async with met(server, there, then=look) as outcomes:
        await ask(client, DATA)
        await client.send_close("")
    assert live == [False, True]
    assert taken(outcomes[0]).stream.is_live


async def test_one_that_stays_a_recording_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    time_, server = Time(monkeypatch), Server(limits=Limits(handshake=7))
    stream = taken((await deliver(server, await first_of(server)))[0]).stream
    assert isinstance(stream, TakenStream)
    assert await stream.receive() == DATA
    never = lambda since, limit: False  # noqa: E731
    time_.now += 6.9
    stream.check_time(never)
    time_.now += 0.2
    stream.check_time(never)  # what has come by now is read first
    with pytest.raises(ConnectionLost, match="recording"):
        stream.check_time(never)


# --- a prekey was stolen ---------------------------------------------------------------------------------


def opened(server: Server, said: bytes, static: KeyPair) -> tuple[dict[str, object], bytes]:
    """What the thief of a prekey reads in a recording: the payload, and the client's static key."""
    hello = 11 + int.from_bytes(said[9:11], "big")
    held = server.maker.find(said[hello - 8 : hello]) or next(iter(server.maker._prekeys._held.values()))
    prologue = said[:hello] + held.prekey.packed
    noise = HandshakeState(early_server.EARLY_PROTOCOL, False, prologue=prologue, s=static)
    return read(noise.read_message(said[hello + 2 :]), EARLY_FIRST), noise.rs


async def test_whoever_stole_it_reads_what_was_said_under_it() -> None:
    server = Server()
    said = await first_of(server)
    (held,) = server.maker._prekeys._held.values()
    payload, _ = opened(server, said, held.key_pair)
    assert payload["data"] == DATA


async def test_whoever_stole_it_says_something_in_the_name_of_a_client_and_never_gets_an_answer() -> None:
    """As with any static key of a server that was stolen: who has it can compute what a client would. So early data
    has no more authority than the prekey; a record has."""
    server = Server()
    prekey = await server.prekey()
    (held,) = server.maker._prekeys._held.values()
    payload, alice = opened(server, await first_of(server), held.key_pair)

    class Forger(KeyPair):
        """The public half of the client's, and the server's secret: `ss` is the same on both sides."""

        def __init__(self) -> None:
            super().__init__(held.key_pair.private)
            self.public = alice

    # ss = DH(client's secret, prekey) = DH(prekey's secret, client's key): the forger computes the latter.
    hello = (await Client(prekey).handshake())._passed
    noise = HandshakeState(
        early_server.EARLY_PROTOCOL, True, prologue=hello + prekey.packed, s=Forger(), rs=prekey.static
    )
    original = noise._dh
    noise._dh = lambda token: dh(held.key_pair, alice) if token == "ss" else original(token)  # type: ignore[method-assign]
    forged = noise.write_message(packed({**payload, "data": b"forged"}))
    outcome, words = await deliver(server, hello + prefixed(forged))
    peer = taken(outcome)
    assert peer.key == ALICE.public_key
    assert await peer.stream.receive() == b"forged"
    with pytest.raises(HandshakeError):  # `se` needs the client's secret
        noise.read_message(words[2:])
    assert not peer.stream.is_live


async def test_whoever_stole_it_is_the_server_for_those_who_use_it_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, thief, (here, there) = Server(), Server(Identity.generate("thief")), connection()
    prekey = await server.prekey()
    (held,) = server.maker._prekeys._held.values()
    thief.maker.identity = SERVER  # he says so; he can't sign as it
    thief.maker._prekeys.add(prekey, held.key_pair, clock.now())
    client = await Client(prekey).stream(here)
    async with met(thief, there, then=answer):
        assert await ask(client, DATA) == b"you said " + DATA
    assert client.early == "taken"
    monkeypatch.setattr("time.time", lambda: prekey.ends_at + 1)
    with pytest.raises(HandshakeError, match="expired"):
        await Client(prekey).handshake()


async def test_whoever_stole_it_is_not_the_server_of_an_ordinary_handshake() -> None:
    """The role in its certificate: it can't stand in the place of a static key of the day."""
    prekey, static = await Server().prekey(), generate_keypair()
    with pytest.raises(HandshakeError):
        prekey.certificate.verify(static.public, Role.SERVER, int(time.time()))
    with pytest.raises(HandshakeError):
        prekey.certificate.verify(prekey.static, Role.SERVER, int(time.time()))


# --- prekeys are made ------------------------------------------------------------------------------------


async def test_another_one_is_made_at_half_of_its_life_and_given_to_who_used_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time_, server = Time(monkeypatch), Server()
    old = await server.prekey()
    time_.now += LIFE / 2 - 1
    assert await server.prekey() == old
    time_.now += 1
    here, there = connection()
    client = await Client(old).stream(here)
    async with met(server, there, then=answer):
        await ask(client, DATA)
    assert client.early == "taken"
    assert client.next_prekey == (await server.prekey()).packed != old.packed


async def test_many_that_want_one_at_once_get_the_same() -> None:
    server, got = Server(), []

    async def get() -> None:
        got.append(await server.prekey())

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(get)
    assert len({prekey.name for prekey in got}) == 1


async def test_there_are_none_where_a_signature_is_somebody_elses_business() -> None:
    signs_elsewhere = Identity(SERVER.public_key, SERVER.sign)
    assert life_of(signs_elsewhere, Limits()) == 0
    assert life_of(signs_elsewhere, Limits(prekey=300)) == 300
    assert life_of(SERVER, Limits()) == LIFE
    assert await Server(signs_elsewhere).maker.newest() is None
    assert await Server(limits=Limits(prekey=0)).maker.newest() is None
    assert await Server(signs_elsewhere, Limits(prekey=300)).maker.newest() is not None


async def test_a_signer_that_fails_is_asked_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    async def sign(data: bytes) -> bytes:
        asked.append(data)
        raise KeyFormatError("the agent has gone")

    time_ = Time(monkeypatch)
    maker = Server(Identity(SERVER.public_key, sign), Limits(prekey=300)).maker
    assert await maker.newest() is None
    assert await maker.newest() is None
    assert len(asked) == 1
    assert "the agent has gone" in caplog.text
    time_.now += early_server.RETRY
    assert await maker.newest() is None
    assert len(asked) == 2


async def test_a_forked_child_takes_none_of_its_parents_messages() -> None:
    server = Server()
    said = await first_of(server)
    server.maker.forget()
    child, words = await deliver(server, said)
    assert isinstance(child, HandshakeError)
    assert words.startswith(b"\0\0")
