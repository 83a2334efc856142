"""Certificates, and connections of TLS between two ends in this process."""

import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import anyio

from chanlink.transport.base import Transport
from chanlink.transport.tls import tls_over
from tests.bench import certificates


class Contexts(NamedTuple):
    client: ssl.SSLContext
    """Knows the server below."""
    server: ssl.SSLContext
    """Of ``localhost``."""
    certificate: str
    """That of the server, as PEM."""


@cache
def contexts() -> Contexts:
    pem = certificates.p256("localhost")
    certificate = pem.certificate.decode()
    return Contexts(ssl.create_default_context(cadata=certificate), serving(pem), certificate)


def serving(pem: certificates.Pem) -> ssl.SSLContext:
    """Of a server that has this certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        certificates.write(path := Path(folder) / "pem", pem)
        server.load_cert_chain(path)
    server.num_tickets = 0  # so that nothing comes but what a test sends
    return server


async def both_over_tls(near: Transport, far: Transport) -> tuple[Transport, Transport]:
    """The first one is the client's."""
    client, server, _ = contexts()
    ends: dict[bool, Transport] = {}

    async def wrap(below: Transport, server_side: bool) -> None:
        name = None if server_side else "localhost"
        ends[server_side] = await tls_over(below, server if server_side else client, name, server_side=server_side)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wrap, near, False)
        tasks.start_soon(wrap, far, True)
    return ends[False], ends[True]
