"""Debian's nginx in front of a server: it has the certificate, and passes on what comes for one path."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import anyio
import pytest

pytest.importorskip("websockets")

import chanlink
from chanlink import ConnectFailed, Identity, Trust, WebSocket, WebSocketListener
from tests.bench import certificates
from tests.echo import ask, echo
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="needs nginx"),
]

ALICE, SERVER = (Identity.generate(name) for name in ("alice", "server"))
CONFIGURATION = """
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {front} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {folder}/pem;
        ssl_certificate_key {folder}/pem;
        location = /chan {{
            proxy_pass http://127.0.0.1:{back};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
        location = /without {{
            proxy_pass http://127.0.0.1:{back}/chan;
        }}
    }}
}}
"""


class Front(NamedTuple):
    url: str
    back: int
    """The port that it passes connections on to."""
    certificate: str


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """An nginx that has taken over a socket which listens already: whoever connects to it is kept until it is there."""
    folder = tmp_path_factory.mktemp("nginx")
    pem, back = certificates.p256("localhost"), free_port()
    certificates.write(folder / "pem", pem)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        name = "{}:{}".format(*sock.getsockname())
        (folder / "conf").write_text(CONFIGURATION.format(folder=folder, front=name, back=back))
        process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-c", "conf", "-e", "stderr"],
            env={"PATH": f"{os.environ['PATH']}:/usr/sbin", "NGINX": f"{sock.fileno()};"},
            pass_fds=[sock.fileno()],
            stderr=subprocess.DEVNULL,
        )
        port = sock.getsockname()[1]
    try:
        yield Front(f"wss://localhost:{port}/chan", back, pem.certificate.decode())
    finally:
        process.terminate()
        process.wait(PATIENCE)


def listen(front: Front, **options: Any) -> Any:
    theirs = WebSocketListener(f"ws://127.0.0.1:{front.back}/chan", forwarded=True)
    return chanlink.listen(
        theirs, identity=SERVER, trust=Trust.of(ALICE.public_key), services={"echo": echo}, **options
    )


def connect(front: Front, url: str = "", **options: Any) -> Any:
    import ssl

    carrier = WebSocket(url or front.url, ssl=ssl.create_default_context(cadata=front.certificate))
    return chanlink.connect(carrier, identity=ALICE, peer=SERVER.public_key, **options)


async def test_a_session_goes_through_and_its_address_is_the_clients(front: Front) -> None:
    async with listen(front) as listener, connect(front) as session:
        assert await ask(session, data := bytes(300_000)) == data
        assert [one.peer.address for one in listener.sessions] == ["127.0.0.1:0"]
    why = await session.wait_closed()
    assert (type(why), why.code) == (chanlink.SessionClosed, "")


async def test_a_server_that_comes_later_is_waited_for_as_any_other(front: Front) -> None:
    with pytest.raises(ConnectFailed, match="it answers 502 Bad Gateway, since the proxy there reaches no server"):
        async with connect(front):
            pass
    sessions: list[Any] = []

    async def come() -> None:
        async with connect(front, wait=PATIENCE) as session:
            sessions.append(await ask(session))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come)
        await anyio.lowlevel.checkpoint()
        async with listen(front):
            with anyio.fail_after(PATIENCE):
                while not sessions:
                    await anyio.sleep(0.01)
    assert sessions == ["hello"]


async def test_a_proxy_that_passes_on_no_upgrade_is_one_line(front: Front) -> None:
    async with listen(front):
        with pytest.raises(ConnectFailed, match=r"it answers 4\d\d "):
            async with connect(front, front.url.replace("/chan", "/without")):
                pass
        with pytest.raises(ConnectFailed, match="it answers 404 Not Found"):
            async with connect(front, front.url.replace("/chan", "/elsewhere")):
                pass


async def test_a_session_that_may_be_resumed_outlives_the_servers_side_of_the_proxy(front: Front) -> None:
    async with listen(front) as listener, connect(front, resume=PATIENCE) as session:
        assert await ask(session, 1) == 1
        (there,) = listener.sessions
        there._below._connection._transport.close_now()
        assert await ask(session, 2) == 2
