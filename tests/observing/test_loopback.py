"""Whether a request is for loopback by an own name."""

import pytest

from chanlink.observing.loopback import is_for_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:9464", "127.0.0.1", "127.0.0.1:80", "127.8.9.10:1", "[::1]", "[::1]:9464", " [::1] "],
)
def test_a_name_of_loopback_is_one_at_whatever_port(host: str) -> None:
    assert is_for_loopback(f"GET / HTTP/1.1\r\nAccept: */*\r\nhOST:{host}\r\n\r\n")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80:127.0.0.1",
        "127.0.0.1@evil.example",
        "10.0.0.1:9464",
        "[::2]:1",
        "::1",
        "localhost:",
        "",
    ],
)
def test_any_other_name_is_none(host: str) -> None:
    assert not is_for_loopback(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")


@pytest.mark.parametrize(
    "request_",
    ["GET / HTTP/1.1\r\n\r\n", "Host: localhost", "", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n"],
)
def test_no_name_and_two_are_none(request_: str) -> None:
    assert not is_for_loopback(request_)
