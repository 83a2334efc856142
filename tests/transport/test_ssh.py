"""A session by a real ssh and a real sshd, to a machine where nothing listens."""

import getpass
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import AddressError, ConfigError, ConnectFailed, Identity, Ssh, WrongPeer
from chanlink.transport.target import parse_remote, parse_target
from tests.authority.sshd import needs_sshd
from tests.command.calls import ROOT, environment
from tests.patience import PATIENCE

from .sshd import Machine, install, serving

pytestmark = pytest.mark.anyio
ALICE = Identity.generate("alice")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with serving(tmp_path_factory.mktemp("sshd")) as machine:
        for name in ("chanlink", "rexec"):
            module = "chanlink" if name == "chanlink" else "examples.rexec"
            install(machine, name, f'cd {ROOT} && exec {sys.executable} -m {module} "$@"')
        yield machine


@pytest.fixture
def machine(there: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", there.path)
    there.say_at_login("")
    return there


async def ping(address: Any, **options: Any) -> chanlink.PublicKey:
    with anyio.fail_after(PATIENCE):
        options = {"identity": ALICE, "timeout": PATIENCE, **options}
        async with chanlink.connect(address, **options) as session:
            await session.ping()
            return session.peer.key


@needs_sshd
async def test_a_machine_where_only_sshd_is(machine: Machine) -> None:
    one, two = await ping("ssh://web1"), await ping(Ssh("web1", user=getpass.getuser()))
    assert one != two  # keys are made for one session


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_a_login_shell_says_does_not_matter(machine: Machine) -> None:
    machine.say_at_login("echo Welcome to web1; echo chanlink-stdio 0; printf 'no end of line'; echo")
    await ping("ssh://web1")


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_banner_without_end_is_given_up(machine: Machine) -> None:
    machine.say_at_login("yes Welcome")
    with pytest.raises(ConnectFailed, match="no chanlink-stdio in the first 65536 bytes"):
        await ping("ssh://web1")


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no account; exit 4", r"ssh ended with status 4, without a session; .*\(it has said: no account\)"),
        ("exit 0", "ssh ended with status 0, without a session; is chanlink installed there"),
    ],
    ids=["words", "silent"],
)  # fmt: skip
async def test_a_login_that_ends_says_so(machine: Machine, script: str, words: str) -> None:
    machine.say_at_login(script)
    with pytest.raises(ConnectFailed, match=words):
        await ping("ssh://web1")


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_is_not_let_in_is_told_by_ssh(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConnectFailed, match="ssh ended with status 255"):
        await ping(Ssh("web1", user="nobody"))
    assert "Permission denied" in capfd.readouterr().err


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_whom_the_caller_expects_it_has_to_be(machine: Machine) -> None:
    with pytest.raises(WrongPeer):
        await ping("ssh://web1", peer=Identity.generate().public_key)


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_another_key_than_the_one_that_came_over_ssh(machine: Machine, tmp_path: Path) -> None:
    """The answer says one key, and the server has another one."""
    other = str(Identity.generate().public_key).split(" ")[1]
    install(machine, "liar", f'chanlink "$@" | sed -u "1s/ [A-Za-z0-9+/=]*$/ {other.replace("/", chr(92) + "/")}/"')
    with pytest.raises((WrongPeer, chanlink.HandshakeError)):
        await ping(Ssh("web1", command=("liar", "stdio")))


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_there_that_has_a_key_of_its_own(machine: Machine, tmp_path: Path) -> None:
    server, path = Identity.generate(), tmp_path / "socket"
    trust = chanlink.Trust.of(ALICE.public_key)
    async with chanlink.listen(f"unix:{path}", identity=server, trust=trust, services={}):
        bridge = Ssh("web1", command=("chanlink", "stdio", f"unix:{path}"))
        assert await ping(bridge, peer=server.public_key) == server.public_key
        with pytest.raises(WrongPeer):
            await ping(bridge, peer=ALICE.public_key)


@needs_sshd
def test_commands_where_nothing_but_sshd_is(machine: Machine, tmp_path: Path) -> None:
    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        env = environment(tmp_path, PATH=machine.path)
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=PATIENCE, **options)

    done = run("examples.rexec", "run", "ssh://web1", "--", "sh", "-c", "cat; echo to-err >&2; exit 7", input=b"in")
    assert (done.returncode, done.stdout) == (7, b"in"), done.stderr
    assert b"to-err" in done.stderr
    pinged = run("chanlink", "ping", "--count", "1", "ssh://web1")
    assert pinged.returncode == 0, pinged.stderr


@needs_sshd
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_is_not_resumed(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="resume needs the same one"):
        await ping("ssh://web1", resume=10)


@pytest.mark.parametrize(
    "text",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://u@", "ssh://-l@h", "ssh://h:0", "ssh://h:99999", "ssh://h/x",
     "ssh://h;id", "ssh://$(id)", "ssh://h\n", "ssh://u`id`@h", "ssh:web1", "ssh://[::1", "ssh://é"],
)  # fmt: skip
def test_what_would_be_something_else_to_ssh_or_a_shell(text: str) -> None:
    with pytest.raises(AddressError):
        parse_target(text)


@pytest.mark.parametrize("text", ["ssh://web1", "ssh://alice@web1:2222", "ssh://[::1]:22", "ssh://a.b-c_d"])
def test_how_it_is_written(text: str) -> None:
    assert str(parse_target(text)) == text
    with pytest.raises(AddressError):  # nobody else's text runs a program here
        parse_remote(text)


def test_the_words_that_are_run() -> None:
    words = Ssh("web1", user="alice", port=22, options=["-J", "jump"]).words("0" * 32, str(ALICE.public_key))
    assert words[:-1] == ["ssh", "-T", "-x", "-a", "-l", "alice", "-p", "22", "-J", "jump", "--", "web1"]
    assert re.fullmatch(r"chanlink stdio --token 0{32} --key [A-Za-z0-9+/=]{68}", words[-1])
    assert Ssh("h", command=["a b", "$x"]).words("t", "")[-1] == "'a b' '$x' --token t"


@pytest.mark.parametrize("given", [{"options": "-v"}, {"command": "x"}, {"port": "22"}, {"user": 1}], ids=str)
def test_types(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(given))):
        Ssh("web1", **given)
