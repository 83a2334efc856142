"""SOCKS: what a proxy is asked, what it answers, and what each answer is called."""

import pytest

from chanlink.transport.address import Address

from .proxies import ASKED, YES, asked

pytestmark = pytest.mark.anyio


async def test_socks_is_asked_for_the_name_which_it_looks_up() -> None:
    assert await asked(b"\x05\x00", YES) == ("", b"\x05\x01\x00" + ASKED)


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("192.0.2.1", b"\x01\xc0\0\x02\x01"),
        ("2001:db8::1", b"\x04" + bytes.fromhex("20010db8" + "00" * 11 + "01")),
        ("bücher.example", b"\x03\x15xn--bcher-kva.example"),
    ],
    ids=["ipv4", "ipv6", "idna"],
)
async def test_hosts_of_every_kind_are_asked_for(host: str, sent: bytes) -> None:
    assert await asked(b"\x05\x00", YES, there=Address(host, 1)) == ("", b"\x05\x01\x00\x05\x01\x00" + sent + b"\0\1")


async def test_a_user_is_told_who_wants_one() -> None:
    answers = b"\x05\x02", b"\x01\x00", YES
    sent = b"\x05\x02\x00\x02" + b"\x01\x02me\x08s:ecret!" + ASKED
    assert await asked(*answers, user="me:s%3aecret!@") == ("", sent)
    assert (await asked(b"\x05\x00", YES, user="me:secret@"))[0] == ""


@pytest.mark.parametrize(
    ("answers", "user", "problem"),
    [
        ((b"\x05\xff",), "", "it wants a user: write socks5://user:password@host:port"),
        ((b"\x05\x02",), "", "it wants a user"),
        ((b"\x05\xff",), "me:secret@", "it does not take a user and a password"),
        ((b"\x05\x02", b"\x01\x01"), "me:secret@", "it does not take this user and password"),
        ((b"\x04\x00",), "", "it does not speak SOCKS 5"),
        ((b"HTTP/1.1 400 Bad\r\n\r\n",), "", "it does not speak SOCKS 5"),
        ((b"",), "", "the proxy closed the connection: is it one of socks5"),
        ((b"\x05",), "", "the proxy closed the connection"),
        ((b"\x05\x00", YES[:-1]), "", "the proxy closed the connection"),
        ((b"\x05\x00", b"\x05\x00\x00\x07"), "", "its answer is none of SOCKS 5"),
        ((b"\x05\x00", b"\x04\x00\x00\x01"), "", "its answer is none of SOCKS 5"),
        ((b"\x05\x00", b"\x05\x02\x00\x01"), "", "its rules do not let us go there"),
        ((b"\x05\x00", b"\x05\x05\x00\x01"), "", "nobody listens there, it says"),
        ((b"\x05\x00", b"\x05\xee\x00\x01"), "", "it says no (SOCKS code 238)"),
    ],
    ids=str,
)
async def test_what_socks_says_is_a_line(answers: tuple[bytes, ...], user: str, problem: str) -> None:
    assert (await asked(*answers, user=user))[0].startswith(problem)


async def test_a_host_name_that_is_too_long_is_said() -> None:
    problem, _ = await asked(b"\x05\x00", YES, there=Address("a" * 256, 1))
    assert problem == "it takes host names of at most 255 bytes"
