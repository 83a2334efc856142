"""A client of ssh that shows a server any bytes for a credential. OpenSSH's own shows only what it has read itself.

It knows one of each: curve25519-sha256 (RFC 8731), aes128-gcm@openssh.com, publickey (RFC 4252 section 7). Who the
server is does not matter to it.
"""

import hashlib
import os
import socket
from collections.abc import Callable

import nacl.bindings
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chanlink.security.keys.openssh import Reader, pack_string
from tests.patience import PATIENCE

VERSION = b"SSH-2.0-chanlink_tests"
KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
SERVICE_REQUEST, SERVICE_ACCEPT = 5, 6
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS = 50, 51, 52
PASSED_OVER = {2, 4, 53}
"""IGNORE, DEBUG, BANNER."""
ALGORITHMS = ("curve25519-sha256", "ssh-ed25519", *2 * ("aes128-gcm@openssh.com",), *2 * ("hmac-sha2-256",))
TAG = 16


class Connection:
    """Packets, in the clear and then encrypted (RFC 4253 section 6, RFC 5647)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._send: Callable[[bytes, bytes], bytes] | None = None
        self._receive: Callable[[bytes, bytes], bytes] | None = None

    def exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._sock.recv(length - len(data))
            if not more:
                raise ConnectionError("the server has closed the connection")
            data += more
        return data

    def line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            data += self.exactly(1)
        return data.rstrip(b"\r\n")

    def send(self, payload: bytes) -> None:
        block, uncounted = (8, 0) if self._send is None else (16, 4)
        padding = block - (5 - uncounted + len(payload)) % block
        padding += block if padding < 4 else 0
        body = bytes([padding]) + payload + bytes(padding)
        length = len(body).to_bytes(4)
        self._sock.sendall(length + (body if self._send is None else self._send(body, length)))

    def receive(self, kind: int | None = None) -> bytes:
        """The next message, which has to be of this kind."""
        while True:
            length = self.exactly(4)
            body = self.exactly(int.from_bytes(length) + (0 if self._receive is None else TAG))
            if self._receive is not None:
                body = self._receive(body, length)
            payload = body[1 : len(body) - body[0]]
            if payload[0] not in PASSED_OVER:
                if kind not in (None, payload[0]):
                    raise ConnectionError(f"message {payload!r}, and {kind} was expected")
                return payload

    def encrypt(self, keys: Callable[[bytes, int], bytes]) -> None:
        to_server, to_client = (AESGCM(keys(letter, 16)) for letter in (b"C", b"D"))
        ours, theirs = Nonces(keys(b"A", 12)), Nonces(keys(b"B", 12))
        self._send = lambda body, length: to_server.encrypt(ours.next(), body, length)
        self._receive = lambda body, length: to_client.decrypt(theirs.next(), body, length)


class Nonces:
    def __init__(self, first: bytes) -> None:
        self._fixed = first[:4]
        self._count = int.from_bytes(first[4:])

    def next(self) -> bytes:
        self._count += 1
        return self._fixed + ((self._count - 1) % 2**64).to_bytes(8)


def mpint(number: bytes) -> bytes:
    number = number.lstrip(b"\0")
    return pack_string(b"\0" + number if number[:1] >= b"\x80" else number)


def exchange(connection: Connection, sock: socket.socket) -> bytes:
    """Agree on keys; returns what the session is called (RFC 4253 section 7, RFC 8731 section 3)."""
    sock.sendall(VERSION + b"\r\n")
    theirs = connection.line()
    lists = b"".join(pack_string(name.encode()) for name in (*ALGORITHMS, "none", "none", "", ""))
    our_init = bytes([KEXINIT]) + os.urandom(16) + lists + bytes(5)
    connection.send(our_init)
    their_init = connection.receive(KEXINIT)
    secret = os.urandom(32)
    ours = nacl.bindings.crypto_scalarmult_base(secret)
    connection.send(bytes([ECDH_INIT]) + pack_string(ours))
    reply = Reader(connection.receive(ECDH_REPLY)[1:])
    host_key, server = reply.string(), reply.string()
    shared = mpint(nacl.bindings.crypto_scalarmult(secret, server))
    parts = (VERSION, theirs, our_init, their_init, host_key, ours, server)
    session: bytes = hashlib.sha256(b"".join(map(pack_string, parts)) + shared).digest()
    connection.send(bytes([NEWKEYS]))
    connection.receive(NEWKEYS)
    connection.encrypt(lambda letter, length: hashlib.sha256(shared + session + letter + session).digest()[:length])
    return session


def is_admitted(address: tuple[str, int], user: str, kind: str, blob: bytes, sign: Callable[[bytes], bytes]) -> bool:
    """Whether the server lets the user in who shows this; ``sign`` makes the blob of a signature."""
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        connection = Connection(sock)
        session = exchange(connection, sock)
        connection.send(bytes([SERVICE_REQUEST]) + pack_string(b"ssh-userauth"))
        connection.receive(SERVICE_ACCEPT)
        words = (user.encode(), b"ssh-connection", b"publickey")
        request = bytes([USERAUTH_REQUEST]) + b"".join(map(pack_string, words)) + b"\1"
        request += pack_string(kind.encode()) + pack_string(blob)
        connection.send(request + pack_string(sign(pack_string(session) + request)))
        return connection.receive()[0] == USERAUTH_SUCCESS
