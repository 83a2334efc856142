"""daemon.toml."""

from pathlib import Path

import pytest

from chanlink.daemon.settings import Service, Settings, add_service, checked_service, fresh, load, remove_service
from chanlink.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "daemon.toml"
    file.write_text(fresh(groups=True))
    file.chmod(0o600)
    return file


def test_fresh_settings_have_no_services(file: Path) -> None:
    assert load(file) == Settings({}, "", True)


def test_services_that_are_added_are_there(file: Path, tmp_path: Path) -> None:
    services = {
        "ping": Service("ping"),
        "echo": Service("echo", incoming=True),
        "a_b-1": Service("a_b-1", True, tmp_path / 'of "its" own, ä'),
    }
    for service in services.values():
        add_service(file, service)
    assert load(file).services == services
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_path_of_a_trust_file_is_below_the_folder(file: Path, tmp_path: Path) -> None:
    file.write_text('[services.ping]\ntrust = "of-ping"\n[services.echo]\ntrust = "/etc/chanlink/echo"\n')
    services = load(file).services
    assert services["ping"].trust == tmp_path / "of-ping"
    assert services["echo"].trust == Path("/etc/chanlink/echo")


def test_a_service_is_not_added_twice(file: Path) -> None:
    add_service(file, Service("ping"))
    with pytest.raises(ConfigError, match="a service ping already"):
        add_service(file, Service("ping", incoming=True))
    assert load(file).services == {"ping": Service("ping")}


ECHO = "[services.echo]\nincoming = true\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("groups = false\n\n[services.ping]\n\n" + ECHO, "groups = false\n\n\n" + ECHO),
        (ECHO + "\n[services.ping]\nincoming = true # yes\n# the end", ECHO + "\n"),
        ("[ services . ping ]\ntrust = 'a'\n# of echo\n" + ECHO, "# of echo\n" + ECHO),
        ("[services.ping]", ""),
    ],
)
def test_a_service_is_removed_and_the_rest_stays_as_it_is(file: Path, before: str, after: str) -> None:
    file.write_text(before)
    remove_service(file, "ping")
    assert file.read_text() == after


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ECHO, "there is no service 'ping'; there are: echo"),
        ("services = {ping = {}}", "take it out by hand"),
        ("[services]\nping = {}", "take it out by hand"),
        ('[services."ping"]', "take it out by hand"),
        ("services.ping.incoming = true", "take it out by hand"),
        ("what = 1\n[services.ping]", "what is not known"),
        ("[services.ping]\ntrust = '''\n[services.echo]'''", "take it out by hand|Invalid|Expected|Illegal"),
    ],
)
def test_what_can_not_be_removed_leaves_the_file(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        remove_service(file, "ping")
    assert str(caught.value).startswith(str(file))
    assert file.read_text() == text


def test_nothing_is_added_to_what_is_not_understood(file: Path) -> None:
    file.write_text("what = 1\n")
    with pytest.raises(ConfigError, match="what is not known"):
        add_service(file, Service("ping"))
    assert file.read_text() == "what = 1\n"


@pytest.mark.parametrize("name", ["", "Ping", "-a", "_a", "a.b", "a/b", "..", "a" * 26, "ä", "a\n"])
def test_what_no_group_can_be_called_is_no_service(file: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name of a service"):
        checked_service(name)
    with pytest.raises(ConfigError, match="name of a service"):
        add_service(file, Service(name))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[services", "Expected"),
        ("groups = " + "[" * 20_000, "nested too deep"),
        ("groups = 1", "groups must be a bool"),
        ("services = 1", "services must be a dict"),
        ("[services]\nping = 1", r"services.ping must be a table"),
        ("[services.ping]\nincoming = 'yes'", "services.ping.incoming must be a bool"),
        ("[services.ping]\nincomming = true", "services.ping.incomming is not known; there are incoming, trust"),
        ("[services.ping]\ntrust = ''", "services.ping.trust is empty"),
        ("[services.Ping]", "name of a service"),
        ("directory = 'http://dir'", "directory: "),
    ],
)
def test_what_is_not_understood_is_an_error_that_names_the_file(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))


def test_settings_that_everybody_may_write_are_not_read(file: Path) -> None:
    file.chmod(0o602)
    with pytest.raises(ConfigError, match="everybody can write it"):
        load(file)


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "daemon.toml")
