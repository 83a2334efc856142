"""From arguments to a session or a listener: which key is expected, and what is said when there is no session."""

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import chanlink
from chanlink import Identity, KnownPeers
from tests.command.calls import ANYWHERE, Call, Keys, assert_one_line, run, serving
from tests.ports import free_port
from tests.rexec.servers import until
from tests.security.keys.credentials import CA, save

pytestmark = pytest.mark.slow


def test_an_event_loop_that_is_not_known_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_EVENT_LOOP", "tokio")
    assert_one_line(call("ping", "tcp://localhost"), "asyncio, uvloop or trio")


def test_a_server_is_known_by_first_use_or_by_peers_add_and_not_otherwise(keys: Keys, server: str) -> None:
    ours = ["--identity", keys.home / "client", "--known", keys.home / "known"]
    key = Identity.load(keys.home / "server").public_key
    refused = run(keys.home, "ping", *ours, server, status=1)
    assert_one_line(refused, key.fingerprint, f"chanlink peers add {server} '{str(key).removesuffix(' server')}'")
    run(keys.home, "ping", "-c1", "--first-use", *ours, server)
    run(keys.home, "ping", "-c1", *ours, server)
    other = Identity.load(keys.home / "stranger").public_key
    run(keys.home, "peers", "remove", "--known", "known", server)
    run(keys.home, "peers", "add", "--known", "known", server, other)
    assert_one_line(run(keys.home, "ping", *ours, server, status=1), other.fingerprint, f"peers remove {server}")
    run(keys.home, "peers", "revoke", "--known", "known", key)
    assert_one_line(run(keys.home, "ping", "--first-use", *ours, server, status=1), key.fingerprint, "revoked")
    with pytest.raises(chanlink.UntrustedPeer):
        KnownPeers.load(keys.home / "known").find("tcp://x:1", key)


def test_wrong_keys_are_one_line(keys: Keys, server: str) -> None:
    home = keys.home
    stranger = (home / "stranger.pub").read_text().strip()
    peer = ["--peer", home / "server.pub"]
    assert_one_line(run(home, "ping", "--identity", "stranger", *peer, server, status=1), "does not trust", stranger)
    assert_one_line(run(home, "ping", "--identity", "client", "--peer", stranger, server, status=1), "SHA256:")
    assert_one_line(run(home, "ping", "--identity", "client", "--peer", "none", server, status=1), "none")
    assert_one_line(run(home, "ping", "--identity", "none", *peer, server, status=1), "none", "chanlink keygen")
    (home / "no psk").touch(0o600)
    assert_one_line(run(home, "ping", *keys.client, "--psk", "no psk", server, status=1), "pre-shared key")


def test_where_no_server_is_it_is_one_line(keys: Keys) -> None:
    refused = run(keys.home, "ping", *keys.client, f"tcp://127.0.0.1:{free_port()}", status=1)
    assert_one_line(refused, "refused", "check the address")
    assert_one_line(run(keys.home, "ping", *keys.client, "unix:/no/such", status=1), "No such file")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert_one_line(run(keys.home, "ping", "--timeout", "0.3", *keys.client, address, status=1), "0.3 s")
        silent.accept()[0].close()
        with ThreadPoolExecutor(1) as pool:  # something else than chanlink
            job = pool.submit(run, keys.home, "ping", *keys.client, address, status=1)
            connection, _ = silent.accept()
            connection.sendall(b"220 mail.example ESMTP\r\n" * 100)
            connection.close()
            assert_one_line(job.result(), "is it a chanlink server")


def test_a_pre_shared_key_is_needed_on_both_sides(keys: Keys) -> None:
    run(keys.home, "keygen", "--psk", "shared")
    with serving(keys, "bench", "--listen", ANYWHERE, "--psk", "shared") as server:
        assert "1 round trips" in run(keys.home, "ping", "-c1", "--psk", "shared", *keys.client, server.address)[0]
        assert_one_line(run(keys.home, "ping", *keys.client, server.address, status=1), "--psk")
        missing = run(keys.home, "ping", "--psk", "nofile", *keys.client, server.address, status=1)
        assert_one_line(missing, "chanlink keygen --psk FILE")


def test_a_listener_that_cannot_start_is_one_line(keys: Keys, server: str) -> None:
    words = ["cat", "--identity", "server", "--listen", server]
    assert_one_line(run(keys.home, *words, "--trust", "none", status=1), "none", "chanlink peers add --trust none")
    (keys.home / "bad").write_text("restrict ssh-ed25519 AAAA\n")
    assert_one_line(run(keys.home, *words, "--trust", "bad", status=1), "bad:1")
    assert run(keys.home, *words, "--trust", "trust", status=1)[1].endswith("Address already in use\n")


@pytest.mark.usefixtures("loop")
def test_interrupted_servers_end_in_order(keys: Keys) -> None:
    for words in (["bench", "--listen"], ["forward", "--allow", "tcp://127.0.0.1:1", "--serve"]):
        with serving(keys, *words, f"unix:{keys.home}/s") as server:
            assert server.stop(signal.SIGINT) == 0
            until(lambda: not (keys.home / "s").exists())


@pytest.mark.parametrize("loop", ["trio"], indirect=True)
def test_what_listens_writes_a_dump_when_it_is_asked_by_a_signal(keys: Keys, loop: None) -> None:
    with serving(keys, "bench", "--listen", ANYWHERE) as server:
        server.process.send_signal(signal.SIGUSR1)
        server.said(r"0 sessions, \d+ pipes?, \d+ tasks?\n")
        run(keys.home, "ping", "-c1", *keys.client, server.address)  # it goes on


def test_what_is_revoked_is_refused_whatever_the_trust_file_says(keys: Keys) -> None:
    (keys.home / "revoked").write_text("")
    with serving(keys, "bench", "--listen", ANYWHERE, "--revoked", "revoked") as server:
        run(keys.home, "ping", "-c1", *keys.client, server.address)
        (keys.home / "revoked").write_text((keys.home / "client.pub").read_text())
        until(lambda: _is_refused(keys, server.address))
    done = run(keys.home, "bench", *keys.server, "--listen", ANYWHERE, "--revoked", "none", status=1)
    assert_one_line((done[0], done[1].splitlines(keepends=True)[-1]), "none")


def _is_refused(keys: Keys, address: str) -> bool:
    return "does not trust our key" in run(keys.home, "ping", "-c1", *keys.client, address, status=None)[1]


def test_a_credential_that_has_ended_is_named_where_it_would_have_been_wanted(keys: Keys, server: str) -> None:
    stranger = Identity.load(keys.home / "stranger").public_key
    words = ["--identity", keys.home / "stranger", "--peer", keys.home / "server.pub", server]
    assert_one_line(run(keys.home, "ping", *words, status=1), "does not trust our key", str(stranger))
    save(CA().issue(stranger, before=1_000_000_000), keys.home / "stranger")
    assert_one_line(
        run(keys.home, "ping", *words, status=1),
        "the credential 'of a test' has ended at 2001-09-09 01:46:40 UTC, and is not shown",
    )
