"""The standard input and output that this process was started with, as a byte stream: the other side of an `Exec`."""

import os
import sys

from anyio.abc import ByteStream

from chanlink.arguments import expect
from chanlink.errors import ConfigError, ConnectFailed

from .banner import is_token, line_of
from .base import BROKEN
from .pipes import PipeTransport, is_stream


def take_stdio(token: str = "", key: str = "") -> ByteStream:
    """Take standard input and output for a session: a byte stream for `accept`, or for `connect`.

    Afterwards nothing is left to read at standard input, and what is printed goes to standard error. With a ``token``,
    which an `Ssh` gives to the command that it runs, a line says first that the session begins, and which public
    ``key`` this side has (a line of OpenSSH: ``str(identity.public_key)``).

    Raises `ConfigError` where they are no pipes or sockets (a terminal, a file), and for a token that is none; and
    `ConnectFailed` when nobody reads what is said.
    """
    expect("token", token, str)
    expect("key", key, str)
    if token and not is_token(token):
        raise ConfigError("a token is 32 hexadecimal digits")
    if not (is_stream(0) and is_stream(1)):
        raise ConfigError("standard input and output are no pipes: this is run by ssh, or by whoever has an Exec")
    sys.stdout.flush()
    reading, writing = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    stream = PipeTransport(reading, writing)
    try:
        line = line_of(token, key) if token else b""
        if stream.send_now(line) < len(line):
            raise ConnectFailed("standard output: nobody reads what is said there")
    except BaseException as exc:
        stream.close_now()
        if isinstance(exc, BROKEN):
            raise ConnectFailed("standard output: the other side has gone") from exc
        raise
    return stream
