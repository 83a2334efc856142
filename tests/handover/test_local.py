"""What stands for an address where a daemon has the keys."""

from pathlib import Path
from typing import Any

import pytest

from chanlink import AddressError
from chanlink.handover.local import Advertised, Local


def test_they_know_the_socket_of_their_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANLINK_RUN", raising=False)
    assert Local("web1", service="ping").path == "/run/chanlink/ipc/ping"
    assert Advertised("ping").path == "/run/chanlink/import/ping"
    monkeypatch.setenv("CHANLINK_RUN", "/elsewhere")
    assert Local("web1", service="ping").path == "/elsewhere/ipc/ping"
    assert Local("web1", service="ping", folder=Path("/here")).path == "/here/ipc/ping"
    assert Advertised("ping", folder="/here").path == "/here/import/ping"


def test_they_say_what_they_are_in_words() -> None:
    assert str(Local("web1", service="ping")) == "web1 (ping, by the daemon)"
    assert str(Advertised("ping")) == "ping (by the daemon)"


@pytest.mark.parametrize("host", ["", "x" * 256, "a\nb", "\x1b[1m"])
def test_a_host_has_a_name_that_can_be_said(host: str) -> None:
    with pytest.raises(AddressError, match="no name of a host"):
        Local(host, service="ping")


@pytest.mark.parametrize("make", [lambda name: Local("web1", service=name), Advertised])
def test_a_service_is_called_as_a_daemon_calls_it(make: Any) -> None:
    with pytest.raises(AddressError, match="no service of a daemon"):
        make("../ping")
    with pytest.raises(TypeError, match="service must be str"):
        make(5)
