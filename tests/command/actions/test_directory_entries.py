"""What stands in a directory, as lines and maps; the rest is tested with the command (commands/test_directory.py)."""

import pytest

from chanlink import Identity, clock
from chanlink.command.actions.directory_entries import as_map, change_as_line, change_as_map
from chanlink.directory import Entry, Gone

KEY = Identity.generate("web1").public_key


def entry(*addresses: str, services: tuple[str, ...] = ()) -> Entry:
    return Entry("web1", KEY, addresses, services, 5, until=clock.now() + 61)


@pytest.fixture(autouse=True)
def no_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)


def test_a_line_has_what_belongs_to_a_name() -> None:
    assert change_as_line(entry("tcp://a:1", "tcp://b:1")) == f"+ web1  tcp://a:1 tcp://b:1  1 min  {KEY.fingerprint}"
    assert change_as_line(entry()) == f"+ web1  no address  1 min  {KEY.fingerprint}"
    assert change_as_line(Gone("web1", KEY.raw)) == f"- web1  {KEY.fingerprint}"
    assert change_as_line(None) == ""


def test_what_a_server_says_of_itself_is_printable() -> None:
    assert "\x1b" not in change_as_line(entry("tcp://a\x1b[2J:1"))


def test_a_map_has_all_of_it() -> None:
    there = change_as_map(entry("tcp://a:1", services=("echo",)))["there"]
    assert there == as_map(entry("tcp://a:1", services=("echo",)))
    assert there["public_key"] == " ".join(str(KEY).split()[:2])
    assert (there["services"], there["serial"]) == (["echo"], 5)
    assert change_as_map(Gone("web1", KEY.raw))["gone"]["fingerprint"] == KEY.fingerprint
    assert change_as_map(None) == {"current": True}
