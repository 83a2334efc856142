"""Names for servers: what is in the file, and where it is wrong."""

from pathlib import Path

import pytest

import chanlink
from chanlink import AddressError, ConfigError, Host

KEY = chanlink.Identity.generate("build").public_key


def load(folder: Path, text: str | bytes) -> dict[str, Host]:
    (folder / "hosts.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Host.load_all(folder / "hosts.toml")


def test_what_it_says_is_read(tmp_path: Path) -> None:
    hosts = load(
        tmp_path,
        f'[web1]\naddress = "tcp://web1.example"\nkey = "{KEY}"\nidentity = "~/k"\nuser = "deploy"\n'
        '[two_2-x]\naddress = "unix:/run/x"\n["web1.example"]\naddress = "tcp://web1.example"\n',
    )
    assert hosts["web1.example"].name == "web1.example"
    assert hosts["web1"] == Host("web1", "tcp://web1.example", KEY, "~/k", "deploy")
    assert hosts["two_2-x"] == Host("two_2-x", "unix:/run/x")


def test_a_file_that_is_missing_has_no_names(tmp_path: Path) -> None:
    assert Host.load_all(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[web1\n", ":1: "),
        ("\n\nx = = 3", ":3: "),
        (b"\n\xff", ":2: not UTF-8"),
        ("web1 = 3", ":1: 'web1': is no table"),
        ("\n[web1]", ":2: 'web1': address is missing"),
        ('[web0]\naddress = "tcp://x"\n[ "web1" ]  # two\n\naddress = "web1"', ":5: 'web1': address: 'web1' is no"),
        ('[web1]\naddress = "chanlink://a b"', ":2: 'web1': address: 'chanlink://a b' is no name"),
        ('[web1]\naddress = "tcp://x:99999"', ":2: 'web1': address: "),
        ('[web1]\naddress = ["tcp://x"]', ":2: 'web1': address must be a text"),
        ('[web1]\naddress = "tcp://x"\nkeys = "x"', ":3: 'web1': 'keys' is not known"),
        ('[web1]\naddress = "tcp://x"\nname = "x"', ":3: 'web1': 'name' is not known"),
        ('[web1]\naddress = "tcp://x"\nkey = "ssh-ed25519 AAAA"', ":3: 'web1': key: "),
        ('[web1]\naddress = "tcp://x"\nkey = ""', ":3: 'web1': key must be a text"),
        ('[web1]\naddress = "tcp://x"\nuser = 0', ":3: 'web1': user must be a text"),
        ('["-r"]\naddress = "tcp://x"', ":1: '-r': a name has letters"),
        ('\n[a.example]\naddress = "tcp://x"', ":2: 'a.example': a name with dots is quoted: [\"a.example\"]"),
        ('[a]\naddress = "tcp://x"\n[a.b.c]\naddress = "tcp://x"', ":3: 'a.b.c': a name with dots is quoted"),
        ('["a:b"]\naddress = "tcp://x"', ":1: 'a:b': a name has letters"),
        ('["a\\nb"]\naddress = "tcp://x"', ": 'a\\nb': a name has letters"),
        ('web1 = {address = "tcp://x", keys = ""}', ": 'web1': 'keys' is not known"),
        ("[" + "a." * 1000 + "b]", ":1: 'a.a.a."),
        ("x = " + "[" * 100_000, ": nested"),
        (b"#" * (1024 * 1024 + 1), ": larger than"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(text: str | bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/hosts.toml{problem}")
    assert "\n" not in str(caught.value)


def test_a_file_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory|no regular file"):
        Host.load_all(tmp_path)


def test_an_address_needs_no_file_and_a_name_needs_its_entry(tmp_path: Path) -> None:
    load(tmp_path, '[web1]\naddress = "tcp://x"')
    path = tmp_path / "hosts.toml"
    assert Host.find("tcp://y", path) == Host("tcp://y", "tcp://y")
    assert Host.find("unix:/y", tmp_path) == Host("unix:/y", "unix:/y")
    assert Host.find("chanlink://y", path) == Host("chanlink://y", "chanlink://y")
    assert Host.find("web1", path) == Host("web1", "tcp://x")
    with pytest.raises(AddressError, match=r"'web2' is no address, and no name in .*hosts.toml; it has web1; write"):
        Host.find("web2", path)
    with pytest.raises(AddressError, match=r"no name in .*none; write"):
        Host.find("web2", tmp_path / "none")


BROKEN = '[db1]\naddress = "tcp://db1"\n[web1]\naddress = "tcp://web1"\nkye = "x"\n[web2]\naddress = "tcp://web2"\n'


def test_settings_that_are_wrong_are_the_error_of_their_server_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hosts.toml:5: 'web1': 'kye' is not known"):
        load(tmp_path, BROKEN)
    path = tmp_path / "hosts.toml"
    each = Host.load_each(path)
    assert list(each) == ["db1", "web1", "web2"]
    assert each["db1"] == Host.find("db1", path) == Host("db1", "tcp://db1")
    assert isinstance(each["web1"], ConfigError)
    with pytest.raises(ConfigError, match=r"hosts.toml:5: 'web1': 'kye' is not known"):
        Host.find("web1", path)


@pytest.mark.parametrize("text", ['key = "of whom?"\n', "[web3\n", "[web3.example]\n", '["web 3"]\n'])
def test_what_may_be_about_any_server_is_the_error_of_all(text: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(text + '[web1]\naddress = "tcp://web1"\n')
    with pytest.raises(ConfigError, match=r"hosts.toml:1: "):
        Host.find("web1", tmp_path / "hosts.toml")
