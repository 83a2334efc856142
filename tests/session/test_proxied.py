"""Sessions by way of proxies: tinyproxy and dante, as they are installed; and where there can be none."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConfigError, ConnectFailed, Tls, TlsListener
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.session.endpoints import ALICE, EVERYBODY, SERVER, SERVICES, ask
from tests.transport.tls import contexts

pytestmark = pytest.mark.anyio

PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
BasicAuth alice s3cret
LogFile "{folder}/log"
PidFile "{folder}/pid"
"""
DANTE = """
logoutput: {folder}/log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""


@contextmanager
def running(program: str, config: str, folder: Path, *options: str) -> Iterator[int]:
    """The port of a proxy, which is there."""
    path = shutil.which(program, path=PATH)
    if path is None:
        pytest.skip(f"needs {program}")
    port = free_port()
    (folder / "config").write_text(config.format(port=port, folder=folder))
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([path, *options, folder / "config"], stdout=said, stderr=said)
    try:
        for _ in range(100 * PATIENCE):
            assert process.poll() is None, (folder / "said").read_text()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running("tinyproxy", TINYPROXY, tmp_path_factory.mktemp("tinyproxy"), "-d", "-c") as port:
        yield f"http://alice:s3cret@127.0.0.1:{port}"


@pytest.fixture(scope="module")
def socks5(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running("danted", DANTE, tmp_path_factory.mktemp("dante"), "-N", "1", "-f") as port:
        yield f"socks5://127.0.0.1:{port}"


@pytest.fixture(params=["http", "socks5"])
def proxy(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def by_name(listener: Any) -> str:
    """The proxy looks it up."""
    return str(listener.addresses[0]).replace("127.0.0.1", "localhost")


async def test_a_session_goes_by_the_proxy(proxy: str) -> None:
    with anyio.fail_after(PATIENCE):
        async with (
            chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=EVERYBODY, services=SERVICES) as listener,
            chanlink.connect(by_name(listener), identity=ALICE, peer=SERVER.public_key, proxy=proxy) as session,
        ):
            assert (await ask(session))["pong"] == 7
            assert session.peer.address == by_name(listener)


async def test_a_tunnel_of_tls_goes_by_the_proxy(proxy: str) -> None:
    where = TlsListener("tls://127.0.0.1:0", contexts().server)
    with anyio.fail_after(PATIENCE):
        async with chanlink.listen(where, identity=SERVER, trust=EVERYBODY, services=SERVICES) as listener:
            there = Tls("localhost", int(by_name(listener).rpartition(":")[2]), ssl_context=contexts().client)
            async with chanlink.connect(there, identity=ALICE, peer=SERVER.public_key, proxy=proxy) as session:
                assert (await ask(session))["pong"] == 7


async def test_a_link_goes_by_the_proxy(proxy: str) -> None:
    with anyio.fail_after(PATIENCE):
        async with (
            chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=EVERYBODY, services=SERVICES) as listener,
            chanlink.reconnecting(by_name(listener), identity=ALICE, peer=SERVER.public_key, proxy=proxy) as link,
        ):
            assert (await ask(await link.session()))["pong"] == 7


async def test_a_server_that_is_not_there_is_said(proxy: str) -> None:
    there = f"tcp://localhost:{free_port()}"
    with pytest.raises(
        ConnectFailed, match=rf"^{there} by (http|socks5)://127.0.0.1:\d+: (nobody|it does not)"
    ) as caught:
        async with chanlink.connect(there, identity=ALICE, peer=SERVER.public_key, proxy=proxy):
            pass
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_tinyproxy_wants_to_know_who_asks(http: str) -> None:
    stranger = f"http://{http.rpartition('@')[2]}"
    with pytest.raises(ConnectFailed, match=r"it wants a user: write http://user:password@host:port \(407\)"):
        async with chanlink.connect("tcp://localhost:1", identity=ALICE, peer=SERVER.public_key, proxy=stranger):
            pass


@pytest.mark.parametrize("connects", [chanlink.connect, chanlink.reconnecting])
@pytest.mark.parametrize("address", ["unix:/nowhere", chanlink.Local("web1", service="ping")], ids=["unix", "local"])
async def test_what_is_not_reached_by_tcp_is_not_reached_by_a_proxy(address: Any, connects: Any) -> None:
    with pytest.raises(ConfigError, match="leave it away"):
        async with connects(address, proxy="socks5://there"):
            pass


async def test_a_byte_stream_goes_by_no_proxy() -> None:
    near, far = chanlink.byte_pipe()
    with pytest.raises(ConfigError, match="leave it away"):
        async with chanlink.connect(near, identity=ALICE, peer=SERVER.public_key, proxy="socks5://there"):
            pass
    await near.aclose()
    await far.aclose()


async def test_a_proxy_that_says_nothing_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"socks5://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectFailed, match=rf"^tcp://there:1 by {proxy}: no answer within 0.01 s"):
            async with chanlink.connect(
                "tcp://there:1", identity=ALICE, peer=SERVER.public_key, proxy=proxy, timeout=0.01
            ):
                pass
