"""Which servers are meant by a list, or by a pattern."""

from pathlib import Path

import pytest

import chanlink
from chanlink.directory import directory_services, open_directory
from examples.rexec.cli.names import hosts_meant, means_many, names_matching

NAMES = ("db1", "web1", "web2", "web10")


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config" / "chanlink").mkdir(parents=True)
    tables = (f'[{name}]\naddress = "tcp://{name}.example"\n' for name in NAMES)
    (tmp_path / ".config" / "chanlink" / "hosts.toml").write_text("".join(tables))


@pytest.mark.parametrize("text", ["web1", "tcp://[::1]:9323", "unix:/run/a,b*", "tcp://a,b", "chanlink://web1"])
def test_a_name_or_an_address_means_one(text: str) -> None:
    assert not means_many(text)


@pytest.mark.parametrize("text", ["web*", "web1,web2", "web?", "web[12]", "web1,tcp://[::1]", "chanlink://web*"])
def test_a_list_or_a_pattern_means_many_even_if_it_is_one(text: str) -> None:
    assert means_many(text)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web*", ["web1", "web2", "web10"]),
        ("web?,db1", ["web1", "web2", "db1"]),
        ("web2,web*,web2", ["web2", "web1", "web10"]),
        ("web[12]", ["web1", "web2"]),
        ("db1,tcp://[::1]:7", ["db1", "tcp://[::1]:7"]),
        ("*", ["db1", "web1", "web2", "web10"]),
    ],
)
async def test_each_is_meant_once_in_the_order_of_the_list(text: str, names: list[str], hosts: None) -> None:
    found = await hosts_meant(text)
    assert [host.name for host in found] == names
    assert found[0] == chanlink.Host.find(names[0])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mail*", "'mail*' matches no name in ~/.config/chanlink/hosts.toml; it has db1, web1, web2, web10"),
        ("web*,mail*", "'mail*' matches no name"),
        ("WEB*", "'WEB*' matches no name"),
        ("web1,web3", "'web3' is no address, and no name"),
        ("web1,", "a name is missing"),
        ("web1,http://x", "'http://x' is no address"),
    ],
)
async def test_what_means_no_server_is_an_error(text: str, problem: str, hosts: None) -> None:
    with pytest.raises(chanlink.ConfigError) as info:
        await hosts_meant(text)
    assert problem in str(info.value)


@pytest.mark.anyio
async def test_settings_that_are_wrong_concern_who_means_that_server(hosts: None) -> None:
    with open(Path.home() / ".config" / "chanlink" / "hosts.toml", "a") as file:
        file.write('[web7]\naddress = "tcp://x"\nkye = "x"\n')
    assert [host.name for host in await hosts_meant("db1,web1?")] == ["db1", "web10"]
    for text in "web*", "db1,web7":
        with pytest.raises(chanlink.ConfigError, match=r"hosts.toml:11: 'web7': 'kye' is not known"):
            await hosts_meant(text)


def test_where_no_name_is_known_nothing_is_listed() -> None:
    with pytest.raises(chanlink.ConfigError) as info:
        names_matching("web*", [])
    assert str(info.value).endswith("hosts.toml")


@pytest.mark.anyio
async def test_names_are_asked_of_the_directory_that_is_set(hosts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    key, us, stranger = (chanlink.Identity.generate(name) for name in ("directory", "us", "stranger"))
    trust = chanlink.Trust.of(us.public_key)
    async with (
        directory_services() as services,
        chanlink.listen("tcp://127.0.0.1:0", identity=key, trust=trust, services=services) as listener,
    ):
        monkeypatch.setenv("CHANLINK_DIRECTORY", f"{listener.addresses[0]} {key.public_key}")
        async with open_directory(identity=us) as directory:
            for name in ("web3", "web20", "mail"):
                await directory.register(name, addresses=["tcp://127.0.0.1:1"])
        found = await hosts_meant("chanlink://web*,db1,chanlink://mail", us)
        assert [host.name for host in found] == ["chanlink://web3", "chanlink://web20", "db1", "chanlink://mail"]
        with pytest.raises(chanlink.ConfigError, match=r"'x\*' matches no name in the directory"):
            await hosts_meant("chanlink://x*", us)
        with pytest.raises(chanlink.ConfigError, match="the directory can't be asked"):
            await hosts_meant("chanlink://web*", stranger)
    monkeypatch.delenv("CHANLINK_DIRECTORY")
    with pytest.raises(chanlink.ConfigError, match="CHANLINK_DIRECTORY"):
        await hosts_meant("chanlink://web*", us)
