"""``chanlink directory``: a directory as a process, and what its actions say."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.command.calls import ANYWHERE, COMMAND, Call, Keys, Server, assert_one_line, make_keys, run, serving, start

DIRECTORY = [*COMMAND, "directory"]
"""Server puts keys behind the first word that it gets: that is of the action then."""
FINGERPRINT = r"SHA256:[A-Za-z0-9+/]{43}"


class Place(NamedTuple):
    """A directory, a server that can be connected to, and a home whose commands know the first."""

    keys: Keys
    directory: Server
    server: str

    @property
    def text(self) -> str:
        return f"{self.directory.address} {self.key('server')}"

    def key(self, name: str) -> str:
        return " ".join((self.keys.home / f"{name}.pub").read_text().split()[:2])

    def run(self, action: str, *words: object, who: str = "client", **options: Any) -> tuple[str, str]:
        return self.command("directory", action, "--identity", who, *words, **options)

    def command(self, *words: object, **options: Any) -> tuple[str, str]:
        return run(self.keys.home, *words, CHANLINK_DIRECTORY=self.text, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    keys = make_keys(tmp_path_factory.mktemp("home"))
    lines = [(keys.home / f"{name}.pub").read_text() for name in ("client", "server", "stranger")]
    (keys.home / "trust").write_text("".join(lines[:2]) + f'services="directory" {lines[2]}')
    with (
        serving(keys, "bench", "--listen", ANYWHERE) as server,
        serving(keys, "serve", ANYWHERE, "--store", "names.db", command=DIRECTORY) as directory,
    ):
        yield Place(keys, directory, server.address)


@pytest.mark.slow
def test_a_server_is_registered_listed_connected_to_and_removed(place: Place) -> None:
    assert place.run("list") == ("", "no server is registered now\n")
    said = place.run("register", "web1", place.server, "--service", "chanlink.bench", "--life", "600", who="server")
    assert said == ("", "web1 is registered for 10 min\n")
    row = rf"web1  {place.server}  (10|9) min  {FINGERPRINT}\n"
    for words in (["list"], ["list", "w*"], ["list", "web?", "web1"], ["lookup", "web1"]):
        assert re.fullmatch(row, place.run(*words)[0]), words
    [one] = json.loads(place.run("lookup", "--json", "web1")[0])
    assert 500 < one.pop("expires_in") <= 600
    assert one.pop("serial") > 10**18
    assert one.pop("fingerprint").startswith("SHA256:")
    key = place.key("server")
    assert one == {"name": "web1", "addresses": [place.server], "services": ["chanlink.bench"], "public_key": key}

    ping = ["ping", "-c1", "--identity", "client"]
    known = place.keys.home / ".config" / "chanlink" / "known_peers"
    assert_one_line(
        place.command(*ping, "chanlink://web1", status=1), f"chanlink peers add chanlink://web1 '{place.key('server')}'"
    )
    place.command("peers", "add", "chanlink://web1", key)
    assert place.command(*ping, "chanlink://web1")[0].startswith("chanlink://web1 ")
    assert f"chanlink://web1 {key}" in known.read_text()
    place.command("peers", "remove", "chanlink://web1")
    assert place.command(*ping, "--trust-directory", "chanlink://web1")[0].startswith("chanlink://web1 is web1, key ")
    assert_one_line(place.command(*ping, "chanlink://web2", status=1), "chanlink://web2: no server has that name now")

    assert_one_line(place.run("remove", "web1", status=1), "web1 belongs to another key")
    assert place.run("remove", "web1", who="server") == ("", "web1 is free\n")
    assert_one_line(place.run("remove", "web1", who="server", status=1), "nobody has the name 'web1'")
    assert place.run("list", "--json")[0] == "[]\n"


@pytest.mark.slow
def test_what_is_not_there_is_a_status_and_a_line(place: Place) -> None:
    assert_one_line(place.run("list", "db*", status=1), "'db*' matches no name that is there now")
    assert_one_line(place.run("lookup", "db1", status=1), "no server has the name 'db1' now")
    assert place.run("lookup", "--json", "db1", status=1)[0] == "[]\n"


@pytest.mark.slow
def test_what_a_directory_does_not_do_is_one_line(place: Place) -> None:
    for words, part in [
        (["register", "x", "unix:/x"], "does not lead to another machine"),
        (["register", "x y", "tcp://x"], "is no name"),
        (["register", "x", "tcp://x", "--directory", "tcp://127.0.0.1:1"], "refused"),
        (["list", "--peer", place.keys.home / "stranger.pub"], "--peer"),
        (["list", "--directory", "x"], "'x' is no address"),
        (["list", "--directory", f"{place.text.split()[0]} {place.key('stranger')}"], "and the key in --directory"),
        (["list", "--directory", place.server], "is not known"),
    ]:
        assert_one_line(place.run(*words, status=1), part)
    assert_one_line(place.run("register", "x", "tcp://x", who="stranger", status=1), "does not let our key do that")
    place.run("register", "taken", "tcp://x", who="server")
    assert_one_line(
        place.run("register", "taken", "tcp://x", status=1), "taken belongs to another key; take another name"
    )
    assert place.run("remove", "taken", who="server")


@pytest.mark.slow
def test_who_watches_sees_who_comes_and_goes(place: Place) -> None:
    place.run("register", "see-1", "tcp://x:1", who="server")
    words = ["directory", "watch", "see-", "--identity", "client", "--directory", place.text]
    with (
        start(place.keys, *words, stdout=-1) as watch,
        start(place.keys, *words, "--json", stdout=-1) as maps,
    ):
        assert watch.stdout is not None
        assert maps.stdout is not None
        assert watch.stdout.readline().startswith(b"+ see-1  tcp://x:1  ")
        assert watch.stdout.readline() == b"\n"
        assert json.loads(maps.stdout.readline())["there"]["name"] == "see-1"
        assert json.loads(maps.stdout.readline()) == {"current": True}
        place.run("register", "see-2", "tcp://x:2", who="server")
        assert watch.stdout.readline().startswith(b"+ see-2  tcp://x:2  ")
        assert json.loads(maps.stdout.readline())["there"]["addresses"] == ["tcp://x:2"]
        place.run("remove", "see-1", who="server")
        assert re.fullmatch(rf"- see-1  {FINGERPRINT}\n", watch.stdout.readline().decode())
        gone = json.loads(maps.stdout.readline())["gone"]
        assert (gone["name"], gone["public_key"]) == ("see-1", place.key("server"))
        for process in watch, maps:
            process.send_signal(signal.SIGINT)
            assert process.wait() == -signal.SIGINT
    place.run("remove", "see-2", who="server")


@pytest.mark.slow
def test_what_is_kept_is_there_until_it_is_interrupted(place: Place) -> None:
    words = ["directory", "register", "--keep", "kept", "tcp://x:1", "--identity", "client", "--directory", place.text]
    with start(place.keys, *words, "--life", "6", stderr=-1) as keeping:
        assert keeping.stderr is not None
        assert keeping.stderr.readline() == b"kept is registered for 6 s\n"
        serial = json.loads(place.run("lookup", "--json", "kept")[0])[0]["serial"]
        while json.loads(place.run("lookup", "--json", "kept")[0])[0]["serial"] == serial:
            pass
        keeping.send_signal(signal.SIGTERM)
        assert keeping.wait() == 0
    place.run("lookup", "kept", status=1)
    place.run("remove", "kept")


@pytest.mark.slow
def test_a_directory_in_a_file_is_there_again_and_one_in_memory_says_so(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    words = ["--identity", "client", "--peer", "server.pub", "--directory"]
    for store in (["--store", "names.db"], []):
        with serving(keys, "serve", ANYWHERE, *store, command=DIRECTORY) as server:
            assert server.said("names are kept in names.db" if store else "names are in memory")
            if not store:
                break
            run(keys.home, "directory", "register", *words, server.address, "web1", "tcp://x:1")
            assert server.stop(signal.SIGTERM) == 0
        with serving(keys, "serve", ANYWHERE, *store, command=DIRECTORY) as server:
            assert "web1" in run(keys.home, "directory", "list", *words, server.address)[0]
            second = run(keys.home, "directory", "serve", ANYWHERE, *store, *keys.server, status=1)
            assert_one_line(second, "names.db")


def test_wrong_arguments_are_found_before_anybody_connects(call: Call) -> None:
    call("keygen")
    for words, part in [
        (["serve", ANYWHERE, "--store", "mysql://user:secret@x"], "--store takes"),
        (["register", "web1"], "ADDRESS"),
        (["register", "--life", "3601", "web1", "tcp://x"], "at most 3600 s"),
        (["register", "--life", "0", "web1", "tcp://x"], "not a number from 1"),
        (["lookup"], "NAME"),
        ([], "ACTION"),
    ]:
        done = call("directory", *words)
        assert_one_line((done.out, done.err), part)
        assert (done.status, done.out) == (2, "")
        assert "secret" not in done.err


def test_who_names_no_directory_is_told_how(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANLINK_DIRECTORY", raising=False)
    call("keygen")
    assert_one_line(call("directory", "list"), "no directory to ask; set CHANLINK_DIRECTORY")
    assert_one_line(call("ping", "chanlink://web1"), "chanlink://web1: no directory to ask; set CHANLINK_DIRECTORY")
    assert_one_line(call("ping", "chanlink://web 1"), "is no name")
