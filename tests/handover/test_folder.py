"""Where the sockets of a daemon are."""

import pytest

from chanlink import AddressError
from chanlink.handover.folder import check_service, folder


def test_the_folder_is_that_of_the_environment_or_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_RUN", "/somewhere/else")
    assert folder() == "/somewhere/else"
    monkeypatch.setenv("CHANLINK_RUN", "")
    assert folder() == "/run/chanlink"
    monkeypatch.delenv("CHANLINK_RUN")
    assert folder() == "/run/chanlink"


@pytest.mark.parametrize("name", ["a", "0", "ping", "a-b_c", "x" * 25])
def test_a_service_of_a_daemon_is_called_so(name: str) -> None:
    assert check_service(name) == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "A", "x" * 26, "a/b", "..", "a.b", "a b", "ä", "a\n"])
def test_a_service_of_a_daemon_is_not_called_so(name: str) -> None:
    with pytest.raises(AddressError, match="no service of a daemon"):
        check_service(name)
