"""Which texts lead where, and which are followed that came over the network."""

import pytest

from chanlink.errors import AddressError
from chanlink.transport.address import Address, Name
from chanlink.transport.target import parse_remote, parse_target


def test_an_address_is_one_and_a_name_is_one() -> None:
    assert parse_target("tcp://host:1") == Address("host", 1)
    assert parse_target("unix:/run/x") == Address("", 0, "/run/x")
    assert parse_target("chanlink://build") == Name("build")


@pytest.mark.parametrize("text", ["", "build", "gopher://host", "chanlink://", "chanlink://a b", "tcp:host", "://"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_target(text)


@pytest.mark.parametrize("text", ["unix:/run/x", "unix:~/x", "chanlink://build", "nonsense"])
def test_what_stays_on_this_machine_is_not_followed(text: str) -> None:
    with pytest.raises(AddressError):
        parse_remote(text)


def test_what_leads_to_another_machine_is() -> None:
    assert parse_remote("tcp://host") == Address("host", 9323)
