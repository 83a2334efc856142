"""Addresses of the web: what is read, how it is written, and what is none."""

import pytest

from chanlink import AddressError
from chanlink.transport.address import Address
from chanlink.transport.web_address import WebAddress, parse_web_address


@pytest.mark.parametrize(
    ("text", "written", "tcp"),
    [
        ("wss://example.org", "wss://example.org/", Address("example.org", 443)),
        ("wss://Example.ORG:443/Chan/link", "wss://example.org/Chan/link", Address("example.org", 443)),
        ("ws://example.org:443/", "ws://example.org:443/", Address("example.org", 443)),
        ("ws://10.0.0.1/a%20b", "ws://10.0.0.1/a%20b", Address("10.0.0.1", 80)),
        ("ws://127.0.0.1:0/x", "ws://127.0.0.1:0/x", Address("127.0.0.1", 0)),
        ("wss://[::1]/x", "wss://[::1]/x", Address("::1", 443)),
        ("wss://[::1]:8443", "wss://[::1]:8443/", Address("::1", 8443)),
    ],
)
def test_it_is_written_in_one_way(text: str, written: str, tcp: Address) -> None:
    address = parse_web_address(text)
    assert (address.tcp, str(address)) == (tcp, written)
    assert address.secure == text.startswith("wss")
    assert parse_web_address(written) == address == WebAddress(address.secure, tcp, address.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wss://",
        "ws:///path",
        "http://example.org/",
        "WSS://example.org/",
        "wss://user:secret@example.org/",
        "wss://example.org/?token=secret",
        "wss://example.org/#there",
        "wss://example.org/a b",
        "wss://example.org/a\nb",
        "wss://example.org:99999/",
        "wss://example.org:/",
        "wss://::1/",
        "wss://example.org/" + 200 * "x",
    ],
)
def test_what_is_none_is_said_to_be_none(text: str) -> None:
    with pytest.raises(AddressError, match="is no address of a WebSocket; write wss://host:port/path"):
        parse_web_address(text)


def test_it_is_a_text() -> None:
    with pytest.raises(TypeError, match="url must be str"):
        parse_web_address(None)  # type: ignore[arg-type]
