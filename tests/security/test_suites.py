"""Record suites: which are offered and chosen, and that the short way to libsodium is the same as the long one."""

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

import anyio
import pytest
from nacl.exceptions import CryptoError

import chanlink
from chanlink import ConfigError, Identity, Limits
from chanlink.errors import LocalProtocolError
from chanlink.security import suites
from chanlink.security.handshake import Authenticated, handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.cipher import AEGIS256, CHACHAPOLY, CipherState
from chanlink.security.statics import Statics
from tests.patience import PATIENCE, lines_run

from .wires import wires, with_another_end

pytestmark = pytest.mark.anyio

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")
CIPHERS = {"chachapoly": CHACHAPOLY, "aegis256": AEGIS256}
NAMES = pytest.mark.parametrize("name", CIPHERS)


def direct(name: str) -> Any:
    cipher = suites._direct(name)
    assert cipher is not None, "this PyNaCl is not as suites.py knows it"
    return cipher


# --- which --------------------------------------------------------------------------------------------


def test_chachapoly_is_always_offered_and_comes_last() -> None:
    assert suites.offer()[-1] == "chachapoly"
    assert set(suites.offer()) <= set(CIPHERS)


def test_aegis_is_offered_where_it_is_the_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, expected in [
        ({"chachapoly": 2.0, "aegis256": 1.0}, ["aegis256", "chachapoly"]),
        ({"chachapoly": 1.0, "aegis256": 2.0}, ["chachapoly"]),
    ]:
        lengths = {CIPHERS[name].tag_length: value for name, value in seconds.items()}
        monkeypatch.setattr(suites, "_seconds", lambda cipher, lengths=lengths: lengths[cipher.tag_length])
        assert list(suites._usable.__wrapped__()) == expected


def test_a_suite_that_gives_a_wrong_answer_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    key, nonce, message, answer = suites._KNOWN["aegis256"]
    monkeypatch.setitem(suites._KNOWN, "aegis256", (key, nonce, message, "00" + answer[2:]))
    assert list(suites._usable.__wrapped__()) == ["chachapoly"]


def test_what_another_process_has_agreed_on_works_also_where_it_is_slow_or_forbidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = {"chachapoly": suites.suite("chachapoly")}
    monkeypatch.setattr(suites, "_usable", lambda: slow)
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")
    for name in CIPHERS:
        found = suites.working(name)
        assert found is not None
        assert found.name == name
        assert found.cipher.tag_length == CIPHERS[name].tag_length
    assert suites.working("later") is None
    key, nonce, message, answer = suites._KNOWN["aegis256"]
    monkeypatch.setitem(suites._KNOWN, "aegis256", (key, nonce, message, "00" + answer[2:]))
    assert suites.working("aegis256") is None


def test_the_environment_can_forbid_aegis_and_not_chachapoly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "_usable", lambda: dict.fromkeys(["aegis256", "chachapoly"]))
    for said, expected in [
        ("chachapoly", ["chachapoly"]),
        ("", ["chachapoly"]),
        ("aegis256", ["aegis256", "chachapoly"]),
        (" chachapoly, aegis256", ["aegis256", "chachapoly"]),
    ]:
        monkeypatch.setenv("CHANLINK_SUITES", said)
        assert suites.offer() == expected


async def test_a_name_that_is_no_suite_is_found_out_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_SUITES", "aegis")
    with pytest.raises(ConfigError, match="'aegis' is no suite"):
        async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=chanlink.Trust.of()):
            pass


def test_the_server_takes_the_fastest_of_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    usable = {name: suites.Suite(name, CIPHERS[name]) for name in ("aegis256", "chachapoly")}
    monkeypatch.setattr(suites, "_usable", lambda: usable)
    monkeypatch.delenv("CHANLINK_SUITES", raising=False)
    for offered, expected in [
        (["chachapoly", "aegis256"], "aegis256"),
        (["chachapoly"], "chachapoly"),
        (["later", 7, None, [], "chachapoly"], "chachapoly"),
    ]:
        chosen = suites.choose(offered)
        assert chosen is not None
        assert chosen.name == expected
    assert suites.choose([]) is None
    assert suites.choose(["later"]) is None


def test_nothing_is_measured_when_the_package_is_imported() -> None:
    code = "import chanlink, chanlink.security.suites as s; assert s._usable.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


OFFERS = [
    (["aegis256", "chachapoly"], ["aegis256", "chachapoly"], "aegis256"),
    (["aegis256", "chachapoly"], ["chachapoly"], "chachapoly"),
    (["chachapoly"], ["aegis256", "chachapoly"], "chachapoly"),
]


@pytest.mark.parametrize(("client", "server", "expected"), OFFERS)
async def test_both_sides_use_what_the_server_chose(
    client: list[str], server: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = {name: suites.Suite(name, cipher) for name, cipher in CIPHERS.items()}
    monkeypatch.setattr(suites, "offer", lambda: client)  # the server asks `choose`
    monkeypatch.setattr(suites, "choose", lambda offered: next(usable[name] for name in server if name in offered))
    monkeypatch.setattr(suites, "suite", usable.__getitem__)
    client_end, server_end = wires()
    found: dict[str, Authenticated] = {}

    def anybody(presented: Presented) -> Grant:
        return Grant("somebody", None)

    async def serve() -> None:
        found["server"] = await handshake_as_server(server_end, Statics(SERVER, Role.SERVER), anybody, Limits())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        found["client"] = await handshake_as_client(client_end, Statics(ALICE, Role.CLIENT), anybody, Limits())
    assert {side.stream.suite for side in found.values()} == {expected}
    for one, other in (("client", "server"), ("server", "client")):
        wire = client_end if one == "client" else server_end
        data, before = os.urandom(200_000), len(wire.sent)
        await found[one].stream.send(data)
        received = b""
        while len(received) < len(data):
            received += await found[other].stream.receive()
        assert received == data
        tag = CIPHERS[expected].tag_length
        records = -(-len(data) // (65_535 - tag - 1))
        assert len(wire.sent) - before == len(data) + records * (2 + 1 + tag)


async def test_the_environment_of_two_processes_decides(tmp_path: Any) -> None:
    """A server that forbids AEGIS, and a client that does not."""
    if "aegis256" not in suites._usable():
        pytest.skip("ChaChaPoly is the faster one on this machine")
    ALICE.save(tmp_path / "alice")
    code = f"""if True:
        import anyio, chanlink, sys
        async def main():
            me = chanlink.Identity.load({str(tmp_path / "alice")!r})
            key = chanlink.PublicKey.parse({str(SERVER.public_key)!r})
            async with chanlink.connect(sys.argv[1], identity=me, peer=key) as session:
                print(session.suite)
        anyio.run(main)
    """
    trust = chanlink.Trust.of(ALICE.public_key)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services={}) as listener:
        for forbidden, expected in [("chachapoly", b"chachapoly"), ("aegis256", b"aegis256")]:
            environment = os.environ | {"CHANLINK_SUITES": forbidden}
            command = [sys.executable, "-c", code, listener.addresses[0]]
            with anyio.fail_after(PATIENCE):
                done = await anyio.run_process(command, env=environment)
            assert done.stdout.strip() == expected


# --- the short way --------------------------------------------------------------------------------------


@NAMES
def test_it_does_what_the_public_functions_do(name: str) -> None:
    ours, public = direct(name), CIPHERS[name]
    for size in [*range(130), 4_095, 4_096, 65_503]:
        key, nonce, message = os.urandom(32), ours.nonce(size), os.urandom(size)
        for ad in (b"", None, b"associated"):
            sealed = public.encrypt(message, ad, nonce, key)
            assert ours.encrypt(message, ad, nonce, key) == sealed
            assert ours.decrypt(sealed, ad, nonce, key) == message
            assert type(ours.decrypt(sealed, ad, nonce, key)) is type(ours.encrypt(message, ad, nonce, key)) is bytes


@NAMES
def test_it_opens_nothing_that_was_changed_or_cut(name: str) -> None:
    ours = direct(name)
    key, nonce = bytes(32), ours.nonce(1)
    sealed = ours.encrypt(b"message", b"", nonce, key)
    for at in range(len(sealed)):
        for changed in (sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], sealed[:at]):
            with pytest.raises(CryptoError):
                ours.decrypt(changed, b"", nonce, key)
    for other in [(b"x", nonce, key), (b"", ours.nonce(2), key), (b"", nonce, b"\1" * 32)]:
        with pytest.raises(CryptoError):
            ours.decrypt(sealed, *other)


@NAMES
@pytest.mark.parametrize("value", [bytearray(64), memoryview(bytes(64)), "x" * 64])
def test_what_is_not_bytes_is_our_fault(name: str, value: Any) -> None:
    state = CipherState(bytes(32), cipher=direct(name))
    for call in (state.encrypt_with_ad, state.decrypt_with_ad):
        with pytest.raises(LocalProtocolError):
            call(b"", value)
    assert state.n == 0


@pytest.mark.parametrize("broken", ["missing", "wrong", "opens anything", "wrong in place", "opens anything in place"])
def test_a_libsodium_that_fails_the_self_test_is_left_for_the_public_functions(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = suites._encryptors, suites._decryptors

    def encryptors(*args: Any) -> Any:
        if broken == "missing":
            raise AttributeError("crypto_aead")
        encrypt, encrypt_into = real[0](*args)

        def wrong_in_place(message: memoryview, out: memoryview, *rest: Any) -> None:
            encrypt_into(message, out, *rest)
            out[-1] ^= 1

        return (
            (lambda *a: with_another_end(encrypt(*a))) if broken == "wrong" else encrypt,
            wrong_in_place if broken == "wrong in place" else encrypt_into,
        )

    def decryptors(*args: Any) -> Any:
        decrypt, decrypt_into = real[1](*args)

        def anything(message: bytes, *rest: Any) -> bytes:
            try:
                return decrypt(message, *rest)
            except CryptoError:
                return b""

        def anything_in_place(*args: Any) -> None:
            with suppress(CryptoError):
                decrypt_into(*args)

        return (
            anything if broken == "opens anything" else decrypt,
            anything_in_place if broken == "opens anything in place" else decrypt_into,
        )

    monkeypatch.setattr(suites, "_encryptors", encryptors)
    monkeypatch.setattr(suites, "_decryptors", decryptors)
    for name in CIPHERS:
        assert suites._direct(name) is None
    usable = suites._usable.__wrapped__()
    assert all(suite.cipher is CIPHERS[name] for name, suite in usable.items())
    assert "chachapoly" in usable


@NAMES
def test_it_is_worth_it(name: str) -> None:
    """A record of a small message: most of the way through PyNaCl is saved, and with it three quarters of the time."""

    def lines(cipher: Any) -> int:
        return lines_run(lambda: cipher.encrypt(bytes(64), b"", cipher.nonce(0), bytes(32)))

    assert lines(direct(name)) < lines(CIPHERS[name]) / 4
