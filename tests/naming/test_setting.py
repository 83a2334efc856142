"""The text that says which directories to ask."""

import pytest

from chanlink import ConfigError, Identity
from chanlink.naming.setting import MOST, Server, parse_setting

KEY = Identity.generate("dir").public_key


def test_addresses_stand_alone_or_with_a_key_and_after_commas() -> None:
    assert parse_setting("tcp://dir") == [Server("tcp://dir", None)]
    assert parse_setting(f" tcp://dir:1  {KEY} ,unix:/run/dir") == [
        Server("tcp://dir:1", KEY),
        Server("unix:/run/dir", None),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no address"),
        ("dir", "'dir' is no address"),
        ("tcp://dir,", "'' is no address"),
        ("chanlink://dir", "is a name"),
        ("tcp://dir ssh-ed25519", "not of the form"),
        ("tcp://dir ssh-rsa AAAA", "ssh-rsa"),
        ("tcp://dir tcp://other", "not of the form|type"),
        (",".join(["tcp://dir"] * (MOST + 1)), f"at most {MOST}"),
    ],
    ids=range(8),
)
def test_what_is_wrong_is_one_line_that_says_where_it_stands(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_setting(text)
    assert str(caught.value).startswith("CHANLINK_DIRECTORY: ")
    assert "\n" not in str(caught.value)
