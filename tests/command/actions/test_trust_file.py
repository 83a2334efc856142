"""Changing trust files: what is meant by a line stands there and nothing else, and servers can read what is written."""

import json
import re
import time
from pathlib import Path

import pytest

from chanlink import Identity, Trust, UntrustedPeer
from chanlink.security.keys.presented import Presented
from tests.command.calls import Call, assert_one_line
from tests.security.keys.credentials import CA

ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))
ORG = CA("org ca")
NOW = int(time.time())
OF_ORG = ("--issuer", "example", "--principals", "alice,carol")


def added(call: Call, key: object, *options: str) -> int:
    return call("peers", "add", "--trust", "trust", *options, key).status


def admitted(principal: str) -> str:
    presented = Presented(ALICE, ORG.issue(ALICE, principal))
    return Trust.load("trust").admit(presented, NOW).name


def test_a_key_that_was_revoked_is_refused_and_does_not_come_back(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(f"{ALICE}\n{BOB}\n")
    done = call("peers", "revoke", "--trust", "trust", "alice")
    assert done.status == 0
    assert ALICE.fingerprint in done.err
    before, kept, revoked = file.read_text().splitlines()
    assert re.fullmatch(r"# until \d{4}-\d\d-\d\d: " + re.escape(str(ALICE)), before)
    assert (kept, revoked) == (str(BOB), f"@revoked {ALICE}")
    assert list(Trust.load("trust").grants) == [BOB]
    assert Trust.load("trust").revoked == {ALICE}
    assert_one_line(call("peers", "add", "--trust", "trust", "--name", "other", ALICE), "trust:3", "revoked")
    carol = Identity.generate("carol").public_key
    assert call("peers", "revoke", "--trust", "trust", carol).status == 0  # one that was never there
    assert_one_line(call("peers", "add", "--trust", "trust", carol), "revoked")
    assert call("peers", "revoke", "--trust", "trust", ALICE, carol).status == 0
    assert file.read_text().count("@revoked") == 2


def test_what_an_older_version_has_revoked_does_not_come_back(call: Call, tmp_path: Path) -> None:
    (tmp_path / "trust").write_text(f"# revoked 2026-01-01: {ALICE}\n")
    assert_one_line(call("peers", "add", "--trust", "trust", ALICE), "trust:1", "revoked")


def test_a_key_with_other_services_is_not_added_beside_them(call: Call) -> None:
    call("peers", "add", "--trust", "trust", "--services", "ping", ALICE)
    assert_one_line(call("peers", "add", "--trust", "trust", ALICE), "ping", "remove it first")


@pytest.mark.parametrize("services", ["", "a b", "a,,b", 'a" ssh-ed25519 AAAA', 'x",restrict,services="y', "a\nb"])
def test_services_that_are_none_change_nothing(call: Call, tmp_path: Path, services: str) -> None:
    (tmp_path / "trust").write_text(f"{BOB}\n")
    assert call("peers", "add", "--trust", "trust", "--services", services, ALICE).status == 1
    assert (tmp_path / "trust").read_text() == f"{BOB}\n"


def test_an_authority_is_added_and_those_whom_it_vouches_for_are_let_in(call: Call, tmp_path: Path) -> None:
    assert added(call, ORG.key, *OF_ORG, "--services", "ping") == 0
    line = f'cert-authority,issuer="example",principals="alice,carol",services="ping" {ORG.key}\n'
    assert (tmp_path / "trust").read_text() == line
    assert admitted("carol") == "carol@example"
    assert "already" in call("peers", "add", "--trust", "trust", *OF_ORG, "--services", "ping", ORG.key).err
    assert added(call, ORG.key, "--issuer", "more", "--principals", "dave", "--revoked", "/etc/krl") == 0
    (one, more) = json.loads(call("peers", "list", "--json", "--trust", "trust").out)
    assert (one["issuer"], one["principals"], one["services"]) == ("example", ["alice", "carol"], ["ping"])
    assert (more["issuer"], more["principals"], more["services"], more["revoked"]) == ("more", ["dave"], None, False)
    shown = call("peers", "list", "--trust", "trust").out.splitlines()
    assert shown[0].startswith("alice,carol @example: ping ")
    assert shown[1].startswith("dave @more: all services ")


def test_an_authority_is_removed_by_what_it_is_called_and_revoked_whole(call: Call, tmp_path: Path) -> None:
    def again() -> None:
        (tmp_path / "trust").write_text("")
        assert added(call, ORG.key, *OF_ORG) == 0
        assert added(call, ORG.key, "--issuer", "more", "--principals", "dave") == 0

    again()
    assert call("peers", "remove", "--trust", "trust", "more").status == 0
    assert [issuer.label for issuer in Trust.load("trust").issuers.all] == ["example"]
    again()
    done = call("peers", "revoke", "--trust", "trust", "example")
    assert done.err.count(ORG.key.fingerprint) == 2
    trust = Trust.load("trust")
    assert (trust.issuers.all, trust.revoked) == ((), {ORG.key})
    assert (tmp_path / "trust").read_text().count("@revoked") == 1
    assert_one_line(call("peers", "add", "--trust", "trust", *OF_ORG, ORG.key), "trust:3", "revoked")


def test_an_issuer_that_is_also_the_name_of_a_key_is_not_guessed(call: Call) -> None:
    assert added(call, ALICE, "--name", "example") == 0
    assert added(call, ORG.key, *OF_ORG) == 0
    assert_one_line(call("peers", "revoke", "--trust", "trust", "example"), "an issuer", "SHA256:")


def test_a_key_that_is_revoked_is_let_in_by_no_authority(call: Call) -> None:
    assert added(call, ORG.key, *OF_ORG) == 0
    assert admitted("alice") == "alice@example"
    assert call("peers", "revoke", "--trust", "trust", ALICE).status == 0
    with pytest.raises(UntrustedPeer, match="revoked"):
        admitted("alice")


def test_names_of_a_directory_are_written(call: Call, tmp_path: Path) -> None:
    assert added(call, ALICE, "--services", "directory", "--names", "web1,web2") == 0
    assert (tmp_path / "trust").read_text() == f'services="directory",names="web1,web2" {ALICE}\n'
    assert Trust.load("trust").grants[ALICE].names == {"web1", "web2"}


@pytest.mark.parametrize(
    "options",
    [
        ("--issuer", "a b", "--principals", "x"),
        ("--issuer", "", "--principals", "x"),
        ("--issuer", "x", "--principals", ""),
        ("--issuer", "x", "--principals", "a,a"),
        ("--issuer", "x", "--principals", 'a",services="y'),
        ("--issuer", 'x",principals="y",services="z', "--principals", "a"),
        ("--issuer", "x", "--principals", "a", "--revoked", "krl"),
        ("--issuer", "x", "--principals", "a", "--names", "web1"),
        ("--issuer", "x", "--principals", "SHA256:x"),
        ("--issuer", "taken", "--principals", "x"),
        ("--issuer", "x\\", "--principals", "x"),
        ("--names", "*"),
        ("--names", "a b"),
    ],
)
def test_what_would_say_something_else_changes_nothing(call: Call, tmp_path: Path, options: tuple[str, ...]) -> None:
    before = f'cert-authority,issuer="taken",principals="x" {ORG.key}\n'
    (tmp_path / "trust").write_text(before)
    failed = call("peers", "add", "--trust", "trust", *options, BOB)
    assert failed.status == 1
    assert len(failed.err) < 400
    assert (tmp_path / "trust").read_text() == before


def test_a_name_that_an_authority_could_give_is_not_added_beside_it(call: Call, tmp_path: Path) -> None:
    assert added(call, ORG.key, *OF_ORG) == 0
    before = (tmp_path / "trust").read_text()
    assert_one_line(call("peers", "add", "--trust", "trust", "--name", "carol@example", BOB), "trust:2", "authority")
    assert (tmp_path / "trust").read_text() == before


@pytest.mark.parametrize(
    "words",
    [
        ["--issuer", "x"],
        ["--principals", "x"],
        ["--revoked", "/krl"],
    ],
)
def test_half_of_an_authority_is_a_wrong_call(call: Call, tmp_path: Path, words: list[str]) -> None:
    assert call("peers", "add", "--trust", "trust", *words, BOB).status == 2
    assert call("peers", "add", *words, "tcp://a:1", BOB).status == 2
    assert call("peers", "add", "--trust", "trust", "--hosts", "*", BOB).status == 2
    assert call("peers", "add", "--hosts", "*", "tcp://a:1", BOB).status == 2
    assert not (tmp_path / "trust").exists()
