"""Data in the first message: taken, or sent again where the server has declined it, and nowhere else."""

import anyio
import pytest

from chanlink import (
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    Identity,
    Limits,
    RemoteProtocolError,
    SessionError,
    UntrustedPeer,
    WrongPeer,
    clock,
)
from chanlink.security import early_client, early_stream
from chanlink.security.handshake import Authenticated
from chanlink.security.hello import MAX_EARLY_MESSAGE

from .early_pairs import Client, Server, answer, ask, connection, met, taken, told
from .handshakes import ALICE, SERVER
from .wires import flipped, read_prefixed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]

DATA = b"the first words"


# --- taken --------------------------------------------------------------------------------------------


async def test_data_arrives_in_the_first_message_and_its_answer_comes_behind_the_second() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    async with met(server, there, then=answer) as outcomes:
        assert await ask(client, DATA) == b"you said " + DATA
    peer = taken(outcomes[0])
    assert peer.key == ALICE.public_key
    assert (client.early, peer.stream.early) == ("taken", "taken")
    assert client.export("label", 32) == peer.stream.export("label", 32)
    assert client.suite == peer.stream.suite


async def test_the_client_says_one_thing_before_the_server_has_its_data() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    said: list[bytes] = []

    def look(at: int, data: bytes) -> bytes:
        said.append(bytes(here.sent))
        return data

    there.edit = look
    async with met(server, there, then=answer):
        await ask(client, DATA)
    hello = 11 + int.from_bytes(said[0][9:11], "big")
    assert len(said[0]) == hello + 2 + int.from_bytes(said[0][hello : hello + 2], "big")


async def test_more_than_fits_in_the_first_message_follows_in_records() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    data = bytes(range(256)) * 100

    async def take(peer: Authenticated) -> None:
        assert await told(peer, len(data)) == data
        await peer.stream.send(b"whole")

    async with met(server, there, then=take):
        assert await ask(client, data) == b"whole"
    hello = 11 + int.from_bytes(here.sent[9:11], "big")
    assert MAX_EARLY_MESSAGE - 10 < int.from_bytes(here.sent[hello : hello + 2], "big") <= MAX_EARLY_MESSAGE


async def test_what_waits_for_the_answer_is_not_overtaken_by_what_is_sent_at_once() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    client.send_now([b"one "])

    def opened() -> None:
        """As a task would that is the first to run."""
        if client.can_send_now:
            client.send_now([b"three "])

    client.on_output(opened)

    async def take(peer: Authenticated) -> None:
        assert await told(peer, 8) == b"one two "
        await peer.stream.send(b"in order")

    async with met(server, there, then=take), anyio.create_task_group() as tasks:
        tasks.start_soon(client.send_parts, [b"two "])
        await anyio.wait_all_tasks_blocked()
        assert await client.receive() == b"in order"


async def test_what_nobody_waits_for_is_collected_and_leaves_after_a_moment() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    await client.send_parts([b"one "])
    await client.send_parts([b"two "])
    assert not here.sent
    assert client.has_output()
    await client.send_parts([])  # the moment
    assert not here.sent
    async with met(server, there, then=answer), anyio.create_task_group() as tasks:
        tasks.start_soon(client.send_parts, [b"three"])
        assert await client.receive() == b"you said one two three"


async def test_the_first_data_is_sent_though_the_writer_waits_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_stream, "LINGER", 3_600)
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    await client.send_parts([b"one "])
    async with met(server, there, then=answer), anyio.create_task_group() as tasks:
        tasks.start_soon(client.send_parts, [])
        await anyio.wait_all_tasks_blocked()
        assert await ask(client, b"two") == b"you said one two"


# --- declined -----------------------------------------------------------------------------------------


async def test_a_server_that_has_started_again_declines_and_gets_the_data_a_second_time() -> None:
    old, server, (here, there) = Server(), Server(), connection()
    client = await Client(await old.prekey()).stream(here)
    async with met(server, there, then=answer) as outcomes:
        assert await ask(client, DATA) == b"you said " + DATA
    assert client.early == "sent again"
    assert taken(outcomes[0]).stream.early == "none"
    assert client.next_prekey == (await server.prekey()).packed


async def test_under_load_it_declines_unopened() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    server.is_loaded = True
    async with met(server, there, then=answer):
        assert await ask(client, DATA) == b"you said " + DATA
    assert client.early == "sent again"


async def test_a_client_that_is_not_trusted_is_told_so_by_the_ordinary_handshake() -> None:
    server, (here, there) = Server(), connection()
    server.trusts_nobody = True
    client = await Client(await server.prekey()).stream(here)
    async with met(server, there) as outcomes:
        with pytest.raises(UntrustedPeer) as caught:
            await ask(client, DATA)
    assert caught.value.remote
    assert isinstance(outcomes[0], UntrustedPeer)


async def test_a_server_with_other_limits_by_now_gets_nothing() -> None:
    old, server, (here, there) = Server(), Server(limits=Limits(message_size=1_000)), connection()
    client = await Client(await old.prekey()).stream(here)
    async with met(server, there) as outcomes:
        with pytest.raises(HandshakeError, match="other limits") as caught:
            await ask(client, DATA)
        await here.aclose()
    assert caught.value.code == "changed"
    assert isinstance(outcomes[0], HandshakeError)
    assert not server.admitted


async def test_another_server_at_the_address_gets_nothing() -> None:
    old, server, (here, there) = Server(), Server(Identity.generate()), connection()
    client = await Client(await old.prekey()).stream(here)
    async with met(server, there):
        with pytest.raises(WrongPeer):
            await ask(client, DATA)
        await here.aclose()
    assert not server.admitted


async def test_a_word_that_comes_too_late_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is remembered for longer than that: see `test_early_server`."""
    old, server, (here, there) = Server(), Server(), connection()
    client = await Client(await old.prekey()).stream(here)
    monkeypatch.setattr(early_client, "ANSWERED_WITHIN", -1.0)
    async with met(server, there):
        with pytest.raises(HandshakeError, match="too late") as caught:
            await ask(client, DATA)
        await here.aclose()
    assert caught.value.code == "late"


# --- attacked -----------------------------------------------------------------------------------------


async def test_a_word_of_an_attacker_makes_nobody_take_the_data_twice() -> None:
    """The true server has taken message 1; the client hears that it was declined, and begins again."""
    server, (here, there), (evil, target) = Server(), connection(), connection()
    client = await Client(await server.prekey()).stream(here)

    async def attack() -> None:
        hello = await there.receive(9)
        offer = await read_prefixed(there)
        first = await read_prefixed(there)
        await evil.send(hello + len(offer).to_bytes(2, "big") + offer + len(first).to_bytes(2, "big") + first)
        await read_prefixed(evil)  # message 2
        await there.send(b"\0\0")
        await evil.send(len(second := await read_prefixed(there)).to_bytes(2, "big") + second)
        await there.aclose()

    async with met(server, target) as outcomes, anyio.create_task_group() as tasks:
        tasks.start_soon(attack)
        with pytest.raises(HandshakeError):
            await ask(client, DATA)
    peer = taken(outcomes[0])
    assert await peer.stream.receive() == DATA
    assert not peer.stream.is_live
    with pytest.raises(RemoteProtocolError):  # what came then is no record
        await peer.stream.receive()
    assert not peer.stream.is_live


async def test_no_change_of_what_the_client_says_gets_its_data_taken() -> None:
    server = Server()
    prekey = await server.prekey()
    size = 9 + 2 + 70 + 2 + 32 + 48 + 500
    for at in [*range(8, 110, 9), *range(110, size, 97)]:
        here, there = connection()
        here.edit = flipped(at)
        client = await Client(prekey).stream(here, patience=5)
        async with met(server, there) as outcomes:
            with pytest.raises(SessionError):
                await ask(client, DATA)
            await here.aclose()
        assert isinstance(outcomes[0], SessionError), at
    assert not server.admitted


@pytest.mark.parametrize("at", [2, 33, 40, 90])
async def test_no_change_of_the_answer_goes_unnoticed(at: int) -> None:
    server, (here, there) = Server(), connection()
    there.edit = flipped(at)
    client = await Client(await server.prekey()).stream(here)
    async with met(server, there):
        with pytest.raises(HandshakeError):
            await ask(client, DATA)


async def test_whoever_hangs_up_instead_of_an_answer_gets_the_data_once() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)

    async def hang_up() -> None:
        await there.receive()
        await there.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hang_up)
        with pytest.raises(HandshakeError, match="may have arrived") as caught:
            await ask(client, DATA)
    assert caught.value.code == "no-answer"
    for _ in range(2):
        with pytest.raises(HandshakeError):
            await client.send(b"more")
    with pytest.raises(HandshakeError):
        await client.receive()


async def test_an_answer_that_does_not_come_ends_it() -> None:
    server, (here, _) = Server(), connection()
    client = await Client(await server.prekey()).stream(here, patience=0.01)
    with pytest.raises(HandshakeTimeout):
        await ask(client, DATA)


# --- ended before that ----------------------------------------------------------------------------------


async def test_what_ends_before_its_handshake_has_no_farewell_and_no_secrets() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    await client.send_parts([DATA])
    assert (client.suite, client.epoch, client.volume, client.peer_close) == ("", 0, 0, ("", ""))
    with pytest.raises(ValueError, match="answer"):
        client.export("label", 32)
    with pytest.raises(ConnectionLost):
        await client.send_close("")
    await client.aclose()
    assert there.ended
    assert not here.sent


async def test_a_forked_child_has_none_of_it() -> None:
    server, (here, _) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    await client.send_parts([DATA])
    client.forget()
    assert not client.can_send_now
    with pytest.raises(ConnectionLost, match="forked"):
        await client.send(b"more")
    assert not here.sent


async def test_times_and_closing_are_those_of_the_stream_that_comes_of_it() -> None:
    server, (here, there) = Server(), connection()
    client = await Client(await server.prekey()).stream(here)
    async with met(server, there, then=answer) as outcomes:
        await ask(client, DATA)
        await client.send_close("bye", "words")
    peer = taken(outcomes[0])
    with pytest.raises(anyio.EndOfStream):
        await peer.stream.receive()
    assert peer.stream.peer_close == ("bye", "words")
    client.check_time(lambda since, limit: True)
    assert client.sent_at <= clock.now()
    assert client.volume > 0
    assert peer.key == ALICE.public_key != SERVER.public_key
