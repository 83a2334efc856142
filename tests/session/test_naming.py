"""Names in a directory: what is asked, whom it may lead to, and what is said when it leads nowhere."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

import chanlink
from chanlink import (
    ConfigError,
    ConnectFailed,
    Identity,
    KnownPeers,
    KnownPrekeys,
    PublicKey,
    SessionClosed,
    SessionError,
    Trust,
    TrustFormatError,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.security.keys.expected import Expected
from chanlink.session.naming import ADDRESSES_MAX, Entry, finder
from chanlink.transport.address import Address, Name
from tests.patience import PATIENCE, until
from tests.session.ways import way_to

pytestmark = pytest.mark.anyio

ALICE = Identity.generate("alice")
SERVER, SECOND = Identity.generate("server"), Identity.generate("second")


class Row(NamedTuple):
    key: PublicKey
    addresses: Sequence[str]


class Directory:
    """In memory. What is kept may be older than what is so now."""

    def __init__(self, **names: list[Row]) -> None:
        self.names = names
        self.kept: dict[str, list[Row]] = {}
        self.asked: list[tuple[str, bool]] = []
        self.problem: Exception | None = None
        self.is_stuck = False
        """Whether it takes questions, and answers none."""

    async def lookup(self, name: str, *, fresh: bool = False) -> Sequence[Entry]:
        self.asked.append((name, fresh))
        if self.problem is not None:
            raise self.problem
        if self.is_stuck:
            await anyio.sleep_forever()
        return (not fresh and self.kept.get(name)) or self.names.get(name, [])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_peers"


def known(file: Path, *keys: PublicKey) -> KnownPeers:
    file.write_text("".join(f"chanlink://web1 {key}\n" for key in keys))
    return KnownPeers.load(file)


def listen(identity: Identity = SERVER, **options: Any) -> Any:
    return chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=Trust.of(ALICE.public_key), **options)


async def try_to_connect(directory: object, **options: Any) -> chanlink.Peer:
    given: dict[str, Any] = {"identity": ALICE, "directory": directory}
    async with chanlink.connect("chanlink://web1", **given | options) as session:
        await session.ping()
        return session.peer


# --- connecting ---------------------------------------------------------------------------------


async def test_a_name_leads_to_its_server(file: Path) -> None:
    async with listen() as listener:
        directory = Directory(web1=[Row(SERVER.public_key, listener.addresses)])
        peer = await try_to_connect(directory, trust=known(file, SERVER.public_key))
        assert peer == chanlink.Peer(SERVER.public_key, "server", "chanlink://web1")
        assert await try_to_connect(directory, peer=SERVER.public_key)
        assert directory.asked == [("web1", False)] * 2


async def test_a_trusted_directory_says_the_key_too(file: Path) -> None:
    async with listen() as listener:
        directory = Directory(web1=[Row(SERVER.public_key, listener.addresses)])
        with pytest.raises(UntrustedPeer, match=f"add this line to {file}: chanlink://web1 "):
            await try_to_connect(directory, trust=known(file))
        assert (await try_to_connect(directory, trust=known(file), trust_directory=True)).name == "web1"


async def test_who_is_there_and_has_another_key_than_the_directory_says_is_refused(file: Path) -> None:
    async with listen() as listener:
        directory = Directory(web1=[Row(SECOND.public_key, listener.addresses)])
        for options in {"trust": known(file), "trust_directory": True}, {"peer": SECOND.public_key}:
            with pytest.raises(WrongPeer) as caught:
                await try_to_connect(directory, **options)
            assert caught.value.actual == SERVER.public_key.fingerprint


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, and nobody will meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{sock.getsockname()[1]}"


async def test_the_server_has_moved_and_the_directory_knows_it(file: Path, nobody: str) -> None:
    async with listen() as listener, listen(SECOND) as other:
        for stale in nobody, *other.addresses:  # nobody is there, or somebody else
            directory = Directory(web1=[Row(SERVER.public_key, listener.addresses)])
            directory.kept["web1"] = [Row(SERVER.public_key, [stale])]
            await try_to_connect(directory, trust=known(file, SERVER.public_key))
            assert directory.asked == [("web1", False), ("web1", True)]


async def test_of_several_servers_one_that_is_there_is_taken_and_each_is_at_some_time(file: Path) -> None:
    async with listen() as one, listen(SECOND) as two:
        gone = Row(SERVER.public_key, ["tcp://127.0.0.1:1"])
        rows = [Row(SERVER.public_key, one.addresses), Row(SECOND.public_key, two.addresses), gone]
        directory, trust = Directory(web1=rows), known(file, SERVER.public_key, SECOND.public_key)
        met = set()
        while len(met) < 2:
            met.add((await try_to_connect(directory, trust=trust)).name)
        assert met == {"server", "second"}
        assert not any(fresh for _, fresh in directory.asked)


async def test_a_server_that_is_busy_is_passed_over_for_another_one() -> None:
    async with (
        listen(limits=chanlink.Limits(sessions=1)) as one,
        listen() as two,
        chanlink.connect(one.addresses[0], identity=ALICE, peer=SERVER.public_key),
    ):
        directory = Directory(web1=[Row(SERVER.public_key, one.addresses)])
        with pytest.raises(SessionClosed) as caught:
            await try_to_connect(directory, peer=SERVER.public_key)
        assert caught.value.code == "busy"
        directory = Directory(web1=[Row(SERVER.public_key, [*one.addresses, *two.addresses])])
        await try_to_connect(directory, peer=SERVER.public_key)


async def test_a_name_that_no_server_has_is_waited_for_as_a_server_that_starts() -> None:
    async with listen() as listener:
        directory = Directory()
        with pytest.raises(ConnectFailed, match="chanlink://web1: no server has that name now"):
            await try_to_connect(directory, peer=SERVER.public_key)
        ask = directory.lookup

        async def lookup(name: str, *, fresh: bool = False) -> Sequence[Entry]:
            if len(directory.asked) == 3:
                directory.names["web1"] = [Row(SERVER.public_key, listener.addresses)]
            return await ask(name, fresh=fresh)

        directory.lookup = lookup  # type: ignore[method-assign]
        await try_to_connect(directory, peer=SERVER.public_key, wait=30.0)


async def test_a_link_asks_for_the_name_each_time(file: Path) -> None:
    trust = known(file, SERVER.public_key)
    async with listen() as two, listen() as one:
        directory = Directory(web1=[Row(SERVER.public_key, one.addresses)])
        options: dict[str, Any] = {"identity": ALICE, "trust": trust, "directory": directory}
        async with chanlink.reconnecting("chanlink://web1", **options) as link:
            assert (await link.session()).peer.address == "chanlink://web1"
            directory.names["web1"] = [Row(SERVER.public_key, two.addresses)]
            await one.aclose()
            async for state in link.states():
                if state == "ready":
                    break
            assert (await link.session()).peer.key == SERVER.public_key


async def test_who_has_no_directory_is_told_so() -> None:
    with pytest.raises(ConfigError, match="chanlink://web1: no directory to ask"):
        await try_to_connect(None, peer=SERVER.public_key)


# --- what a directory may do --------------------------------------------------------------------


async def found(directory: Directory, expected: Expected, fresh: bool = False) -> Sequence[Address]:
    find = finder(Name("web1"), directory, expected)
    assert find is not None
    return await find(fresh)


async def of_key(key: PublicKey = SERVER.public_key) -> Expected:
    return await Expected.of(Name("web1"), key, None)


async def test_an_address_needs_no_directory() -> None:
    assert finder(Address("host", 1), None, await of_key()) is None
    assert finder(None, None, await of_key()) is None


async def test_nothing_but_addresses_of_other_machines_is_followed() -> None:
    addresses = ["unix:/run/it", "exec:rm", "chanlink://web2", "", "tcp://", "tcp://x:99999", "tcp://good:1", "x" * 999]
    directory = Directory(web1=[Row(SERVER.public_key, addresses)])
    assert await found(directory, await of_key()) == [Address("good", 1)]
    directory = Directory(web1=[Row(SERVER.public_key, ["unix:/run/it"])])
    with pytest.raises(ConnectFailed, match="no address of it that leads to another machine"):
        await found(directory, await of_key())


async def test_a_server_with_a_key_that_is_not_expected_is_not_connected_to_where_there_is_another(file: Path) -> None:
    rows = [Row(SECOND.public_key, ["tcp://lie:1"]), Row(SERVER.public_key, ["tcp://good:1"])]
    assert await found(Directory(web1=rows), await of_key()) == [Address("good", 1)]
    by_file = await Expected.of(Name("web1"), None, known(file, SERVER.public_key))
    assert await found(Directory(web1=rows), by_file) == [Address("good", 1)]
    with pytest.raises(WrongPeer):
        await found(Directory(web1=rows[:1]), await of_key())


async def test_where_a_file_knows_another_key_the_server_is_asked_whether_it_has_taken_its_place(file: Path) -> None:
    """Nothing is said to it but a hello and a key of this handshake, unless it proves that."""
    lie = [Row(SECOND.public_key, ["tcp://new:1"])]
    by_file = await Expected.of(Name("web1"), None, known(file, SERVER.public_key))
    assert await found(Directory(web1=lie), by_file) == [Address("new", 1)]
    file.write_text(file.read_text() + f"@revoked * {SECOND.public_key}\n")
    by_file = await Expected.of(Name("web1"), None, KnownPeers.load(file))
    with pytest.raises(UntrustedPeer):
        await found(Directory(web1=lie), by_file)


async def test_each_address_is_tried_once_and_not_too_many() -> None:
    directory = Directory(web1=[Row(SERVER.public_key, ["tcp://a:1"] * 9 + [f"tcp://b:{n}" for n in range(1, 99)])])
    addresses = await found(directory, await of_key())
    assert len(addresses) == len(set(addresses)) == ADDRESSES_MAX


@pytest.mark.parametrize(
    "problem",
    [ConnectFailed("tcp://dir: refused"), WrongPeer("a", "b"), SessionClosed("gone", "x"), UntrustedPeer("a")],
    ids=["down", "wrong", "closed", "untrusted"],
)
async def test_what_is_wrong_with_the_directory_is_not_said_of_the_server(problem: SessionError) -> None:
    directory = Directory()
    directory.problem = problem
    with pytest.raises(ConnectFailed, match="chanlink://web1: can't ask the directory: ") as caught:
        await found(directory, await of_key())
    assert str(problem) in str(caught.value)


@pytest.mark.parametrize("early", [False, True])
async def test_a_directory_that_does_not_answer_takes_no_longer_than_the_timeout(early: bool) -> None:
    directory = Directory()
    directory.is_stuck = True
    known = {"known_prekeys": KnownPrekeys()} if early else {}
    with anyio.fail_after(PATIENCE), pytest.raises(ConnectFailed, match=r"chanlink://web1: no answer within 0\.2 s"):
        await try_to_connect(directory, peer=SERVER.public_key, timeout=0.2, early=early, **known)


async def test_who_comes_back_passes_over_a_directory_that_is_set_up_wrongly_meanwhile() -> None:
    async with listen() as listener, way_to(listener) as way:
        directory = Directory(web1=[Row(SERVER.public_key, [way.address])])
        options: dict[str, Any] = {"identity": ALICE, "peer": SERVER.public_key, "directory": directory, "resume": 60}
        async with chanlink.connect("chanlink://web1", **options) as session:
            directory.problem = TrustFormatError("known_peers:3: no key")
            asked = len(directory.asked)
            way.cut()
            await until(lambda: len(directory.asked) >= asked + 2)
            assert session.state == "away"
            directory.problem = None
            await session.ping()
            assert session.state == "open"


async def test_a_directory_that_is_set_up_wrongly_is_an_error_of_the_configuration() -> None:
    directory = Directory()
    directory.problem = ConfigError("say which directory")
    with pytest.raises(ConfigError, match="say which directory"):
        await found(directory, await of_key())
