"""Keys in an ssh-agent: a real one, and ones that say what no agent would say."""

import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import AgentError, ChanlinkError, ConfigError, Identity, KeyFormatError, PublicKey, Trust
from chanlink.security import certified as certified_module
from chanlink.security import handshake, showing
from chanlink.security import statics as statics_module
from chanlink.security.keys import ssh_agent as agent
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.credential import HOST, USER
from chanlink.security.keys.ssh_agent import KEYS_MAX, REPLY_MAX, parse_identities, parse_sign_response
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE

from .credentials import CA, save
from .programs import AgentProcess, armored, needs_ssh_agent, run

pytestmark = pytest.mark.anyio

ALICE, BOB, SERVER = (Identity.generate(name) for name in ("alice@laptop", "bob", "server"))
ORG = CA("org")
NOW = 1_700_000_000
STATIC = bytes(range(32))


# --- a real agent -------------------------------------------------------------------------------


@needs_ssh_agent
async def test_key_in_the_agent_signs(ssh_agent: AgentProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh_agent.add(ALICE)
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    assert identity.public_key == ALICE.public_key
    assert identity.public_key.comment == "alice@laptop"
    assert await identity.sign(b"data") == await ALICE.sign(b"data")  # Ed25519 has one signature for each
    monkeypatch.setenv("SSH_AUTH_SOCK", str(ssh_agent.socket))
    assert (await Identity.from_agent()).public_key == ALICE.public_key


@needs_ssh_agent
async def test_key_is_chosen_among_several_of_all_types(ssh_agent: AgentProcess) -> None:
    for key in ("rsa", "ecdsa", ALICE):
        ssh_agent.add(key)
    assert (await Identity.from_agent(socket=ssh_agent.socket)).public_key == ALICE.public_key
    ssh_agent.add(BOB)
    assert (await Identity.from_agent(BOB.public_key, ssh_agent.socket)).public_key == BOB.public_key
    with pytest.raises(AgentError, match="holds 2 Ed25519 keys; say which one with public_key="):
        await Identity.from_agent(socket=ssh_agent.socket)
    with pytest.raises(AgentError, match=re.escape(f"hold the key {SERVER.public_key.fingerprint} now; run: ssh-add")):
        await Identity.from_agent(SERVER.public_key, ssh_agent.socket)


@needs_ssh_agent
async def test_agent_without_a_key_for_us_is_an_error(ssh_agent: AgentProcess) -> None:
    with pytest.raises(AgentError, match="does not hold an ssh-ed25519 key now; run: ssh-add FILE"):
        await Identity.from_agent(socket=ssh_agent.socket)
    ssh_agent.add("ecdsa")
    with pytest.raises(AgentError, match="does not hold an ssh-ed25519 key"):
        await Identity.from_agent(socket=ssh_agent.socket)


@needs_ssh_agent
async def test_credentials_come_with_a_key_and_are_found_when_they_are_renewed(
    ssh_agent: AgentProcess, caplog: pytest.LogCaptureFixture
) -> None:
    path = ssh_agent.add(ALICE)
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    assert await identity.credential() is None
    for key_id in ("first", "second"):
        save(ORG.issue(ALICE.public_key, key_id=key_id, before=2**40 + len(key_id)), path)
        ssh_agent.ssh_add("-q", path)
        credential = await identity.credential()
        assert credential is not None
        assert credential.key_id == key_id
    save(ORG.issue(ALICE.public_key, type=HOST, key_id="host"), path)
    ssh_agent.ssh_add("-q", path)
    shown = [await identity.credential(type) for type in (USER, HOST)]
    assert [one and one.key_id for one in shown] == ["second", "host"]
    ssh_agent.stop()
    assert [await identity.credential(type) for type in (USER, HOST)] == shown
    assert [message.endswith("the credentials that it held before go on") for message in caplog.messages] == [True]


@needs_ssh_agent
async def test_a_file_beside_a_key_that_the_agent_has_counts_as_well(ssh_agent: AgentProcess) -> None:
    path = ssh_agent.add(ALICE)
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    path.unlink()
    save(ORG.issue(ALICE.public_key, key_id="in a file", before=2**40), path)
    shown = await identity.showing(path).credential()
    assert shown is not None
    assert shown.key_id == "in a file"


@needs_ssh_agent
async def test_a_credential_of_another_authority_or_key_is_not_ours(ssh_agent: AgentProcess) -> None:
    path = ssh_agent.add(BOB)
    save(ORG.issue(BOB.public_key), path)
    ssh_agent.ssh_add("-q", path)
    run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", ssh_agent.folder / "ca")
    path = ssh_agent.add(ALICE)
    run("ssh-keygen", "-q", "-s", ssh_agent.folder / "ca", "-I", "x", "-n", "alice", path.with_name(f"{path.name}.pub"))
    ssh_agent.ssh_add("-q", path)
    identity = await Identity.from_agent(ALICE.public_key, ssh_agent.socket)
    assert await identity.credential() is None


@needs_ssh_agent
async def test_agent_that_lost_the_key_or_has_gone_is_an_error_at_the_signature(ssh_agent: AgentProcess) -> None:
    ssh_agent.add(ALICE)
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    ssh_agent.ssh_add("-q", "-D")
    with pytest.raises(AgentError, match="it refused"):
        await identity.sign(b"data")
    ssh_agent.stop()
    with pytest.raises(AgentError, match=f"no ssh-agent at unix:{ssh_agent.socket}") as caught:
        await identity.sign(b"data")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ConfigError)


@needs_ssh_agent
async def test_use_that_is_not_confirmed_is_an_error(ssh_agent: AgentProcess) -> None:
    ssh_agent.add(ALICE, "-c")  # asks somebody who isn't there
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    with pytest.raises(AgentError, match="was the use of the key not confirmed"):
        await identity.sign(b"data")


@needs_ssh_agent
async def test_certificate_signed_by_the_agent_is_verified_by_ssh_keygen(
    ssh_agent: AgentProcess, tmp_path: Path
) -> None:
    ssh_agent.add(ALICE)
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    certificate = await certify(identity, STATIC, Role.CLIENT, NOW)
    assert certificate.verify(STATIC, Role.CLIENT, NOW) == ALICE.public_key
    (tmp_path / "allowed_signers").write_text(f"alice {ALICE.public_key}\n")
    (tmp_path / "sig").write_text(armored(certificate))
    verify = ["ssh-keygen", "-Y", "verify", "-I", "alice", "-n", "chanlink-static-v1"]
    message = certificate.signed_message(STATIC, Role.CLIENT)
    run(*verify, "-f", tmp_path / "allowed_signers", "-s", tmp_path / "sig", input=message)


@needs_ssh_agent
async def test_both_sides_of_a_session_may_have_their_keys_in_the_agent(ssh_agent: AgentProcess) -> None:
    ssh_agent.add(ALICE)
    ssh_agent.add(SERVER)
    alice, server = [await Identity.from_agent(key.public_key, ssh_agent.socket) for key in (ALICE, SERVER)]
    options: dict[str, Any] = {"identity": server, "trust": Trust.of(ALICE.public_key)}
    async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener:
        address = listener.addresses[0]
        async with chanlink.connect(address, identity=alice, peer=SERVER.public_key) as session:
            assert (await session.ping()) > 0
        ssh_agent.ssh_add("-q", "-D")
        with pytest.raises(AgentError):  # of the client; the server's certificate is still good
            async with chanlink.connect(address, identity=alice, peer=SERVER.public_key):
                pytest.fail("there is a session")
        async with chanlink.connect(address, identity=ALICE, peer=SERVER.public_key) as session:
            await session.ping()


# --- certificates that an agent signs -----------------------------------------------------------

HOUR = 3600


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        for module in (handshake, showing, certified_module, statics_module):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return self.now


@needs_ssh_agent
async def test_certificate_is_renewed_at_half_life_and_live_sessions_go_on(
    ssh_agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    ssh_agent.add(SERVER)
    server = await Identity.from_agent(socket=ssh_agent.socket)
    options: dict[str, Any] = {"identity": server, "trust": Trust.of(ALICE.public_key)}
    async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener:
        connect = partial(chanlink.connect, listener.addresses[0], identity=ALICE, peer=SERVER.public_key)
        async with connect() as session:
            before = listener._greeter.statics._current
            clock.now += 12 * HOUR
            async with connect() as second:
                after = listener._greeter.statics._current
                assert before
                assert after
                assert after[0].public != before[0].public
                assert after[1].not_after > before[1].not_after
                assert await session.ping() > 0
                assert await second.ping() > 0


@needs_ssh_agent
async def test_server_whose_agent_has_gone_works_until_its_certificate_expires(
    ssh_agent: AgentProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    ssh_agent.add(SERVER)
    statics = Statics(await Identity.from_agent(socket=ssh_agent.socket), Role.SERVER)
    first = await statics.current()
    ssh_agent.ssh_add("-q", "-D")
    clock.now += 12 * HOUR
    for _ in range(3):  # the agent is asked once
        assert await statics.current() is first
    assert [record.getMessage() for record in caplog.records] == [
        f"the certificate can't be renewed, and the old one is used: ssh-agent at {ssh_agent.socket}: "
        "it refused; is it locked, or was the use of the key not confirmed?"
    ]
    clock.now += 61
    assert await statics.current() is first
    assert len(caplog.records) == 2
    clock.now += 12 * HOUR
    with pytest.raises(AgentError, match="refused"):
        await statics.current()
    ssh_agent.ssh_add("-q", ssh_agent.folder / "key1")
    assert (await statics.current())[1].not_after > first[1].not_after


async def test_server_whose_agent_hangs_works_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(certified_module, "RENEWAL", 0.05)
    asked = anyio.Event()

    async def hang_the_second_time(data: bytes) -> bytes:
        if asked.is_set():
            await anyio.sleep_forever()
        asked.set()
        return await SERVER.sign(data)

    statics = Statics(Identity(SERVER.public_key, hang_the_second_time), Role.SERVER)
    first = await statics.current()
    clock.now += 12 * HOUR
    with anyio.fail_after(PATIENCE):
        assert await statics.current() is first


async def test_there_is_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(AgentError, match=r"SSH_AUTH_SOCK is not set; start one with: eval \$\(ssh-agent\)"):
        await Identity.from_agent()
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    with pytest.raises(AgentError, match="is not set"):
        await Identity.from_agent()
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file", tmp_path / ("x" * 200), "~nobody-has-this-name/agent"):
        with pytest.raises(AgentError, match="no ssh-agent at"):
            await Identity.from_agent(socket=path)


# --- replies ------------------------------------------------------------------------------------


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def entry(key: PublicKey, comment: bytes = b"me") -> bytes:
    return string(key.blob) + string(comment)


SIGNATURE = string(string(b"ssh-ed25519") + string(bytes(64)))
LIST = b"\x0c" + number(1) + entry(ALICE.public_key)
SIGNED = b"\x0e" + SIGNATURE


def test_keys_are_read_and_other_types_passed_over() -> None:
    rsa = string(string(b"ssh-rsa") + string(b"whatever")) + string(b"\xff")
    keys = parse_identities(b"\x0c" + number(3) + rsa + entry(BOB.public_key, b"a\x1b[2J\xff\n") + LIST[5:])
    assert keys == [BOB.public_key, ALICE.public_key]
    assert keys[0].comment == "a\\x1b[2J\N{REPLACEMENT CHARACTER}\\n"  # nothing that a terminal obeys
    assert len(parse_identities(b"\x0c" + number(1) + entry(BOB.public_key, b"x" * 9999))[0].comment) == 256


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"", "cut short"),
        (b"\x0c", "cut short"),
        (b"\x06", "another reply"),
        (SIGNED, "another reply"),
        (b"\x0c" + number(2) + LIST[5:], "cut short"),
        (b"\x0c" + number(0) + LIST[5:], "follows its end"),
        (LIST + b"\0", "follows its end"),
        (b"\x0c" + number(KEYS_MAX + 1), "more than 2048 keys"),
        (b"\x0c" + number(2**32 - 1) + LIST[5:], "more than 2048 keys"),
        (b"\x0c" + number(1) + string(b"") + string(b""), "cut short"),
        (b"\x0c" + number(1) + string(ALICE.public_key.blob + b"\0") + string(b""), "follows its end"),
        (b"\x0c" + number(1) + string(string(b"ssh-ed25519") + string(bytes(31))) + string(b""), "32 bytes"),
        (b"\x0c" + number(1) + string(string(b"ssh-ed25519") + string(b"\xff" * 32)) + string(b""), "canonical"),
        (b"\x0c" + number(1) + b"\xff\xff\xff\xff", "cut short"),
    ],
)
def test_malformed_list_of_keys_is_refused(reply: bytes, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        parse_identities(reply)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"", "cut short"),
        (b"\x0e", "cut short"),
        (LIST, "another reply"),
        (SIGNED + b"\0", "follows its end"),
        (b"\x0e" + string(string(b"ssh-rsa") + string(bytes(64))), "another type"),
        (b"\x0e" + string(string(b"ssh-ed25519") + string(bytes(63))), "64 bytes"),
        (b"\x0e" + string(string(b"ssh-ed25519") + string(bytes(64)) + b"\0"), "follows its end"),
        (b"\x0e" + b"\xff\xff\xff\xff" + SIGNATURE, "cut short"),
    ],
)
def test_malformed_signature_is_refused(reply: bytes, problem: str) -> None:
    with pytest.raises(KeyFormatError, match=problem):
        parse_sign_response(reply)


@pytest.mark.parametrize(("parse", "reply"), [(parse_identities, LIST), (parse_sign_response, SIGNED)])
def test_every_cut_and_changed_byte_of_a_reply_is_an_error_or_another_reply(
    parse: Callable[[bytes], object], reply: bytes
) -> None:
    parse(reply)
    for length in range(len(reply)):
        with pytest.raises(KeyFormatError):
            parse(reply[:length])
    for at in range(len(reply)):
        for value in (0, reply[at] ^ 1, 255):
            with suppress(KeyFormatError):  # and nothing else
                parse(reply[:at] + bytes([value]) + reply[at + 1 :])


# --- agents that misbehave ----------------------------------------------------------------------


@asynccontextmanager
async def scripted(tmp_path: Path, *replies: bytes | None) -> AsyncIterator[Path]:
    """Says one of these on each connection, whatever is asked, and hangs up; None: says nothing, and does not."""
    path = tmp_path / "scripted"
    sockets = await listening_sockets(parse_address(f"unix:{path}"))

    async def serve() -> None:
        for reply in replies:
            await anyio.wait_readable(sockets.sockets[0])
            async with SocketTransport(sockets.sockets[0].accept()[0]) as stream:
                await stream.receive()
                if reply is None:
                    await anyio.sleep_forever()
                else:
                    await stream.send(reply)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield path
        tasks.cancel_scope.cancel()
    sockets.close()


HOSTILE = {
    "nothing": (b"", "closed the connection without an answer"),
    "half a length": (b"\0\0", "closed the connection"),
    "half a reply": (string(LIST)[:-1], "closed the connection"),
    "an empty reply": (number(0), "a reply of 0 bytes"),
    "a huge reply": (number(REPLY_MAX + 1), f"a reply of {REPLY_MAX + 1} bytes"),
    "the hugest reply": (number(2**32 - 1) + bytes(1000), "a reply of 4294967295 bytes"),
    "a failure": (string(b"\x05"), "it refused"),
    "garbage": (string(b"SSH-2.0-OpenSSH"), "malformed list of keys: another reply"),
    "a cut list": (string(LIST[:-1]), "malformed list of keys: it is cut short"),
    "a signature": (string(SIGNED), "malformed list of keys: another reply"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_agent_is_an_error_of_one_line(case: str, tmp_path: Path) -> None:
    said, problem = HOSTILE[case]
    async with scripted(tmp_path, said) as path:
        with pytest.raises(AgentError, match=problem) as caught:
            await Identity.from_agent(socket=path)
    assert str(caught.value).startswith(f"ssh-agent at {path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (string(SIGNED), re.escape(f"not one of the key {ALICE.public_key.fingerprint}")),
        (string(LIST), "malformed signature: another reply"),
        (string(SIGNED + b"\0"), "malformed signature: something follows"),
        (string(b"\x05"), "it refused"),
        (b"", "closed the connection"),
    ],
)
async def test_wrong_signature_of_an_agent_is_an_error_and_never_used(
    said: bytes, problem: str, tmp_path: Path
) -> None:
    async with scripted(tmp_path, string(LIST), said, said) as path:
        identity = await Identity.from_agent(socket=path)
        with pytest.raises(AgentError, match=problem):
            await identity.sign(b"data")
        with pytest.raises(ChanlinkError):
            await certify(identity, STATIC, Role.CLIENT, NOW)


async def test_largest_reply_is_read(tmp_path: Path) -> None:
    filler = REPLY_MAX - len(LIST)
    async with scripted(tmp_path, string(LIST[:5] + entry(ALICE.public_key, b"me" + b"x" * filler))) as path:
        assert (await Identity.from_agent(socket=path)).public_key == ALICE.public_key


async def test_agent_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "LIST_TIME", 0.05)
    async with scripted(tmp_path, None) as path:
        with pytest.raises(AgentError, match=r"no answer within 0\.05 s"):
            await Identity.from_agent(socket=path)


async def test_connect_gives_up_an_agent_that_says_nothing_in_its_own_time(tmp_path: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    async with scripted(tmp_path, string(LIST), None) as path:
        identity = await Identity.from_agent(socket=path)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(chanlink.HandshakeTimeout):
            async with chanlink.connect(address, identity=identity, peer=BOB.public_key, timeout=0.1):
                pytest.fail("there is a session")
    server.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
async def test_connections_to_the_agent_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    async with scripted(tmp_path, string(LIST), b"", string(b"\x05")) as path:
        identity = await Identity.from_agent(socket=path)
        for _ in range(2):
            with pytest.raises(AgentError):
                await identity.sign(b"data")
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before
