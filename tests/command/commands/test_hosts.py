"""``chanlink hosts``, and names in the place of addresses."""

import json
from pathlib import Path

import pytest

from chanlink import Identity
from tests.command.calls import Call, Keys, assert_one_line, run


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    file = tmp_path / ".config" / "chanlink" / "hosts.toml"
    file.parent.mkdir(parents=True)
    return file


def test_it_lists_the_names(call: Call, hosts: Path) -> None:
    key = Identity.generate("build").public_key
    hosts.write_text(f'[web]\naddress = "tcp://web:1"\nuser = "me"\n[build]\naddress = "unix:/b"\nkey = "{key}"\n')
    assert call("hosts") == (0, f"build  unix:/b      {key.fingerprint}\nweb    tcp://web:1\n", "")
    build, web = json.loads(call("hosts", "--json").out)
    assert build == {"name": "build", "address": "unix:/b", "key": str(key), "identity": None, "user": None}
    assert (web["name"], web["key"], web["user"]) == ("web", None, "me")


def test_a_file_that_is_missing_has_no_names_and_one_that_is_wrong_is_one_line(call: Call, hosts: Path) -> None:
    assert call("hosts").out == ""
    assert "no names" in call("hosts").err
    assert call("hosts", "--json").out == "[]\n"
    hosts.write_text('[build]\naddress = "tcp://x"\nkeys = "x"\n')
    assert_one_line((call("top", "other").out, call("top", "other").err), "no name in", "it has build")
    for words in (["hosts"], ["ping", "build"]):
        called = call(*words)
        assert called.status == 1
        assert_one_line((called.out, called.err), f"{hosts}:3: 'build': 'keys' is not known")
    for words in (["ping", "tcp://127.0.0.1:1"], ["cat", "unix:/none"]):  # an address needs no file
        assert "hosts.toml" not in call(*words).err


@pytest.mark.slow
def test_a_name_stands_for_the_address_the_key_and_our_identity(keys: Keys, server: str) -> None:
    home = keys.home
    file = home / ".config" / "chanlink" / "hosts.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    key = Identity.load(home / "server").public_key
    file.write_text(f'[build]\naddress = "{server}"\nkey = "{key}"\nidentity = "{home}/client"\n')
    assert run(home, "ping", "-c1", "build")[0].startswith(f"{server} is server, key {key.fingerprint}")
    for command in (["bench", "--seconds", "0.01"], ["top", "--once"]):
        run(home, *command, "build")
    assert_one_line(run(home, "ping", "-c1", "bulid", status=1), "'bulid' is no address, and no name", "it has build")
    assert_one_line(run(home, "ping", "-c1", "--identity", "stranger", "build", status=1), "does not trust our key")
    stranger = (home / "stranger.pub").read_text().strip()
    assert_one_line(run(home, "ping", "--peer", stranger, "build", status=1), "--peer")
    file.write_text(f'[build]\naddress = "{server}"\nkey = "{stranger}"\nidentity = "{home}/client"\n')
    assert_one_line(run(home, "ping", "build", status=1), "check what ~/.config/chanlink/hosts.toml says of build")
    file.unlink()
