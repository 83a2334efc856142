"""Standard input and output are taken for a session: what is printed goes elsewhere, and what can't be is refused."""

import os
import subprocess
import sys

import pytest

from tests.patience import PATIENCE

TAKE = """
import os, sys, anyio, chanlink
async def main():
    try:
        stream = chanlink.take_stdio(*sys.argv[1:])
    except chanlink.ChanlinkError as exc:
        print(type(exc).__name__, exc, file=sys.stderr)
        return
    print("printed")
    os.system("echo a child; cat")
    async with stream:
        await stream.send(await stream.receive())
anyio.run(main)
"""
TOKEN = "0" * 32


def take(*words: str, stdin: object = subprocess.PIPE, data: bytes | None = b"hello") -> tuple[bytes, str]:
    done = subprocess.Popen(
        [sys.executable, "-c", TAKE, *words], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # type: ignore[call-overload]
    out, err = done.communicate(data, timeout=PATIENCE)
    return out, err.decode()


def test_bytes_are_the_sessions_and_words_go_to_standard_error() -> None:
    out, err = take()
    assert out == b"hello"
    assert sorted(err.split("\n")) == ["", "a child", "printed"]


def test_the_line_comes_first() -> None:
    assert take(TOKEN)[0] == f"chanlink-stdio {TOKEN}\nhello".encode()
    assert take(TOKEN, "ssh-ed25519 AAAA me")[0] == f"chanlink-stdio {TOKEN} AAAA\nhello".encode()


def test_a_token_that_is_none() -> None:
    assert "ConfigError a token is 32 hexadecimal digits" in take("x")[1]


@pytest.mark.parametrize("what", ["file", "terminal"])
def test_what_can_not_be_waited_for(what: str) -> None:
    if what == "file":
        with open(os.devnull, "rb") as nothing:
            assert "ConfigError standard input and output are no pipes" in take(stdin=nothing, data=None)[1]
        return
    near, far = os.openpty()
    try:
        assert "ConfigError standard input and output are no pipes" in take(stdin=far, data=None)[1]
    finally:
        os.close(near)
        os.close(far)
