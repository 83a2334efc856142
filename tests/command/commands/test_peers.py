"""``chanlink peers``: what it lists, and what it says about files of peers."""

import json
from pathlib import Path

from chanlink import Identity, KnownPeers, Trust
from tests.command.calls import Call, assert_one_line, mode_of

ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


def test_a_trust_file_is_made_listed_and_emptied(call: Call, tmp_path: Path) -> None:
    assert call("peers", "add", "--trust", "trust", ALICE).status == 0
    assert call("peers", "add", "--trust", "trust", "--services", "ping,bench", "--name", "bob b", BOB).status == 0
    assert mode_of(tmp_path / "trust") == 0o600
    trust = Trust.load("trust")
    assert trust.check(ALICE) == (grant := trust.check(ALICE))
    assert grant is not None
    assert (grant.name, grant.services) == ("alice", None)
    assert (grant := trust.check(BOB)) is not None
    assert (grant.name, grant.services) == ("bob b", {"ping", "bench"})
    lines = call("peers", "list", "--trust", "trust").out.splitlines()
    assert [line.split()[0] for line in lines] == ["all", "bench,ping"]
    listed = json.loads(call("peers", "list", "--json", "--trust", "trust").out)
    assert [(one["line"], one["services"]) for one in listed] == [(1, None), (2, ["bench", "ping"])]
    assert "already" in call("peers", "add", "--trust", "trust", ALICE).err
    assert call("peers", "remove", "--trust", "trust", "alice", BOB.fingerprint).status == 0
    assert (tmp_path / "trust").read_text() == ""
    assert "no keys" in call("peers", "list", "--trust", "trust").err


def test_known_peers_are_added_found_and_removed(call: Call, tmp_path: Path) -> None:
    assert call("peers", "add", "tcp://Build", ALICE).status == 0
    assert call("peers", "add", "unix:/run/x", BOB, "--name", "the socket").status == 0
    known = KnownPeers.load()
    assert (grant := known.find("tcp://build:9323", ALICE)) is not None
    assert grant.name == "alice"
    listed = json.loads(call("peers", "list", "--json").out)
    assert [one["addresses"] for one in listed] == [["[build]:9323"], ["unix:/run/x"]]
    assert "already" in call("peers", "add", "tcp://build:9323", ALICE).err
    assert_one_line(call("peers", "add", "tcp://build", BOB), "another key", "peers remove tcp://build")
    assert call("peers", "remove", "tcp://build", "the socket").status == 0
    assert json.loads(call("peers", "list", "--json").out) == []


def test_servers_share_a_name_by_the_line_that_is_advised(call: Call) -> None:
    assert call("peers", "add", "chanlink://web", ALICE).status == 0
    refused = call("peers", "add", "chanlink://web", BOB)
    assert_one_line(refused, "another key", "if servers share the name, add a line: chanlink://web")
    known = KnownPeers.load()
    with open(known.path, "a") as file:
        file.write(refused.err.partition("add a line: ")[2])
    known = KnownPeers.load()
    for key in (ALICE, BOB):
        assert known.find("chanlink://web", key) is not None


def test_a_revoked_server_key_is_refused_everywhere(call: Call, tmp_path: Path) -> None:
    call("peers", "add", "tcp://a:1", ALICE)
    call("peers", "add", "tcp://b:1", ALICE)
    call("peers", "add", "tcp://c:1", BOB)
    assert call("peers", "revoke", "tcp://a:1").status == 0
    (entry, _) = sorted(json.loads(call("peers", "list", "--json").out), key=lambda one: not one["revoked"])
    assert (entry["fingerprint"], entry["addresses"]) == (ALICE.fingerprint, ["*"])
    for address in ("tcp://a:1", "tcp://elsewhere:1"):
        assert_one_line(call("peers", "add", address, ALICE), "revoked")
    assert call("peers", "add", "tcp://a:1", Identity.generate().public_key).status == 0
    assert call("peers", "revoke", ALICE).status == 0
    assert sum(one["revoked"] for one in json.loads(call("peers", "list", "--json").out)) == 1


def test_a_missing_trust_file_is_one_line_and_is_not_made(call: Call, tmp_path: Path) -> None:
    for words in (["list"], ["remove", "alice"], ["revoke", "alice"]):
        assert_one_line(call("peers", *words, "--trust", "none"), "none", "peers add")
    assert not (tmp_path / "none").exists()


def test_what_a_file_holds_is_printed_as_text(call: Call, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"\x1b]0;evil\x07 {ALICE}\n")
    assert "\x1b" not in call("peers", "list", "--known", "known").out
    assert "\x1b" not in call("peers", "list", "--json", "--known", "known").out
    (tmp_path / "known").write_text("\x1b]0;evil\x07\n")
    assert_one_line(call("peers", "list", "--known", "known"), "known:1")
