"""Names for servers."""

from pathlib import Path

import pytest

import chanlink
from examples.rexec.cli.hosts import Host, find_host, load_hosts
from tests.rexec.cli.test_connecting import KEY


class TestFile:
    def load(self, folder: Path, text: str | bytes) -> dict[str, Host]:
        (folder / "hosts.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_hosts(str(folder / "hosts.toml"))

    def test_what_it_says_is_read(self, tmp_path: Path) -> None:
        hosts = self.load(
            tmp_path,
            f'[web1]\naddress = "tcp://web1.example"\nkey = "{KEY}"\nidentity = "~/k"\nuser = "deploy"\n'
            '[two_2-x]\naddress = "unix:/run/x"\n',
        )
        assert hosts["web1"] == Host("tcp://web1.example", KEY, "~/k", "deploy")
        assert hosts["two_2-x"] == Host("unix:/run/x")
        assert load_hosts(str(tmp_path / "none")) == {}

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[web1\n", "line 1"),
            ("\n\nx = = 3", "line 3"),
            (b"\xff", "not UTF-8"),
            ("web1 = 3", "'web1': is no table"),
            ("[web1]", "'web1': address is missing"),
            ('[web1]\naddress = "web1"', "'web1': address"),
            ('[web1]\naddress = ["tcp://x"]', "'web1': address must be a text"),
            ('[web1]\naddress = "tcp://x"\nkeys = "x"', "'keys' is not known"),
            ('[web1]\naddress = "tcp://x"\nkey = "ssh-ed25519 AAAA"', "'web1': key: "),
            ('[web1]\naddress = "tcp://x"\nkey = ""', "key must be a text"),
            ('[web1]\naddress = "tcp://x"\nuser = 0', "user must be a text"),
            ('["-r"]\naddress = "tcp://x"', "letters"),
            ('["a:b"]\naddress = "tcp://x"', "letters"),
            ('["a\\nb"]\naddress = "tcp://x"', "letters"),
            ("x = " + "[" * 100_000, "nested"),
            (b"#" * (1024 * 1024 + 1), "larger than"),
        ],
    )
    def test_what_is_wrong_is_one_line_with_its_place(self, text: str | bytes, problem: str, tmp_path: Path) -> None:
        with pytest.raises(chanlink.ConfigError) as caught:
            self.load(tmp_path, text)
        assert str(caught.value).startswith(f"{tmp_path}/hosts.toml: ")
        assert problem in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_can_not_be_read_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(chanlink.ConfigError, match="Is a directory"):
            load_hosts(str(tmp_path))

    def test_an_address_needs_no_file_and_a_name_needs_its_entry(self, tmp_path: Path) -> None:
        self.load(tmp_path, '[web1]\naddress = "tcp://x"')
        path = str(tmp_path / "hosts.toml")
        assert find_host("tcp://y", path) == Host("tcp://y")
        assert find_host("unix:/y", str(tmp_path)) == Host("unix:/y")
        assert find_host("web1", path) == Host("tcp://x")
        with pytest.raises(chanlink.ConfigError, match="it has web1"):
            find_host("web2", path)
