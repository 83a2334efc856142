"""Users and groups of the machine, and who is at the other end of a Unix socket."""

import os
import pwd
import socket

import pytest

from chanlink.daemon.accounts import Caller, caller_of, checked_name, group_of, name_of, user_of
from chanlink.errors import ConfigError


def test_the_kernel_says_who_has_connected() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert caller_of(ours) == Caller(os.getpid(), os.getuid())


def test_a_uid_has_its_name() -> None:
    assert user_of(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name


def test_for_people_a_uid_without_a_name_is_its_number() -> None:
    assert name_of(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert name_of(3_999_999_999) == "3999999999"


def test_a_uid_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no name"):
        user_of(3_999_999_999)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "-x", "a b", "a" * 65, "ä", "a\n"])
def test_what_no_folder_can_be_called_is_no_name_of_a_user(name: str) -> None:
    with pytest.raises(ConfigError, match="name of a user"):
        checked_name(name)


@pytest.mark.parametrize("name", ["alice", "www-data", "_apt", "j.doe@example.org", "0x"])
def test_usual_names_are_names_of_users(name: str) -> None:
    assert checked_name(name) == name


def test_a_group_that_is_missing_is_named_with_what_makes_it() -> None:
    with pytest.raises(ConfigError, match="groupadd --system ipc-no-such-service"):
        group_of("ipc", "no-such-service")
