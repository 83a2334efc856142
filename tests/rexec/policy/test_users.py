"""The users of this system."""

import os
import pwd

import pytest

from examples.rexec.policy.users import PATH, User, environment_of, look_up, shell_of


def test_one_is_found_by_name_and_another_is_none() -> None:
    ours = pwd.getpwuid(os.geteuid())
    found = look_up(ours.pw_name)
    assert found.uid == os.geteuid()
    assert found.is_our_own() == (found.gid == os.getegid())
    assert not found._replace(uid=found.uid + 1).is_our_own()
    with pytest.raises(KeyError):
        look_up("nobody-of-this-name")


def test_the_servers_own_user_has_all_variables_and_another_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LC_TIME", "C")
    assert environment_of(None)[b"SECRET"] == b"x"
    login = environment_of(User("www", 33, 33, "/var/www", "/bin/false"))
    assert b"SECRET" not in login
    expected = {b"PATH": PATH, b"HOME": b"/var/www", b"USER": b"www", b"LOGNAME": b"www", b"SHELL": b"/bin/false"}
    assert login.items() >= {**expected, b"LC_TIME": b"C"}.items()


def test_commands_that_a_credential_forces_are_run_by_the_login_shell() -> None:
    assert shell_of(None) == pwd.getpwuid(os.geteuid()).pw_shell
    assert shell_of(User("www", 33, 33, "/var/www", "/bin/false")) == "/bin/false"
