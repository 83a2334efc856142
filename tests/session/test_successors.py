"""A new key for an old name: who connects, and who is connected to, is followed to it, once."""

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Identity, KnownPeers, Limits, PublicKey, SessionClosed, Trust, UntrustedPeer, WrongPeer
from chanlink.directory import Directory, directory_services
from chanlink.security.keys.successor import Successor
from tests.patience import PATIENCE, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

OLD, SERVER, CLIENT = (Identity.generate(name) for name in ("old", "server", "client"))
QUICK = Limits(trust_interval=0.02)
HERE = "tcp://127.0.0.1:0"


async def new_key(folder: Path, name: str, old: Identity = OLD) -> Identity:
    """An identity in a file, beside which lies what the old one says of it."""
    made, path = Identity.generate(name), folder / name
    made.save(path)
    path.with_name(f"{name}-successor").write_text(f"{await Successor.made(old, made.public_key, int(time.time()))}\n")
    return Identity.load(path)


def listen(trust: Trust, identity: Identity = SERVER) -> Any:
    return chanlink.listen(HERE, identity=identity, trust=trust, services={}, limits=QUICK)


def connect(listener: Any, identity: Identity) -> Any:
    return chanlink.connect(listener.addresses[0], identity=identity, peer=SERVER.public_key)


async def refused(listener: Any, identity: Identity) -> None:
    with pytest.raises(UntrustedPeer):
        async with connect(listener, identity):
            pytest.fail("there is a session")


# --- clients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [True, False])
async def test_a_client_with_a_new_key_is_let_in_and_the_old_key_no_more(in_file: bool, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(f"{OLD.public_key}\n")
    new, thief = await new_key(tmp_path, "new"), await new_key(tmp_path, "thief")
    trust = Trust.load(file) if in_file else Trust.of(OLD.public_key)
    async with listen(trust) as listener, connect(listener, OLD) as before:
        async with connect(listener, new):
            assert "old" in [one.peer.name for one in listener.sessions if one.peer.key == new.public_key]
            with anyio.fail_after(PATIENCE):
                cause = await before.wait_closed()
            assert isinstance(cause, SessionClosed)
            assert cause.code == "revoked"
            await refused(listener, OLD)
            await refused(listener, thief)
        (tmp_path / "new-successor").unlink()
        async with connect(listener, Identity.load(tmp_path / "new")):  # it need not be shown again
            pass
        if in_file:
            await until(lambda: "@revoked" in file.read_text())
    if in_file:
        async with listen(Trust.load(file)) as listener:  # the process was restarted
            async with connect(listener, new):
                pass
            await refused(listener, OLD)
            await refused(listener, thief)


async def test_a_successor_of_a_stranger_lets_nobody_in(tmp_path: Path) -> None:
    new = await new_key(tmp_path, "new")
    async with listen(Trust.of(CLIENT.public_key)) as listener:
        await refused(listener, new)


# --- servers ------------------------------------------------------------------------------------


async def test_a_server_with_a_new_key_is_followed_and_the_old_key_is_revoked(tmp_path: Path) -> None:
    new, thief = await new_key(tmp_path, "new"), await new_key(tmp_path, "thief")
    known = tmp_path / "known"
    everybody = Trust.of(CLIENT.public_key)

    async def meet(identity: Identity) -> str:
        async with (
            listen(everybody, identity) as listener,
            chanlink.connect(listener.addresses[0], identity=CLIENT, trust=KnownPeers.load(known)) as session,
        ):
            return session.peer.name

    known.write_text(f"[127.0.0.1]:* {OLD.public_key}\n")
    assert await meet(OLD) == "old"
    assert await meet(new) == "old"
    text = f"[127.0.0.1]:* {PublicKey(new.public_key.raw, 'old')}\n@revoked * {PublicKey(OLD.public_key.raw)}\n"
    assert known.read_text() == text
    assert await meet(new) == "old"
    with pytest.raises(UntrustedPeer, match="revoked"):
        await meet(OLD)
    with pytest.raises(WrongPeer):
        await meet(thief)
    assert known.read_text() == text


async def test_a_key_that_the_program_names_is_not_followed(tmp_path: Path) -> None:
    new = await new_key(tmp_path, "new")
    async with listen(Trust.of(CLIENT.public_key), new) as listener:
        for expected in ({"peer": OLD.public_key}, {"trust": Trust.of(OLD.public_key)}):
            options: dict[str, Any] = dict(expected)
            with pytest.raises((WrongPeer, UntrustedPeer), match="takes the place of the expected one"):
                async with chanlink.connect(listener.addresses[0], identity=CLIENT, **options):
                    pytest.fail("there is a session")


async def test_a_server_with_a_new_key_keeps_its_name_in_a_directory_and_is_followed_there(tmp_path: Path) -> None:
    new = await new_key(tmp_path, "new")
    known = tmp_path / "known"
    known.write_text(f"chanlink://web1 {OLD.public_key}\n")
    everybody = Trust.of(OLD.public_key, CLIENT.public_key)

    async def meet() -> PublicKey | None:
        trust = KnownPeers.load(known)
        async with chanlink.connect("chanlink://web1", identity=CLIENT, trust=trust, directory=asked) as session:
            return session.peer.key

    async with (
        directory_services() as services,
        chanlink.listen(HERE, identity=SERVER, trust=everybody, services=services) as host,
    ):
        where = {"peer": SERVER.public_key}
        async with Directory(host.addresses[0], identity=CLIENT, **where) as asked:
            for server in OLD, new:
                async with (
                    Directory(host.addresses[0], identity=server, **where) as told,
                    listen(everybody, server) as listener,
                ):
                    await told.register("web1", listener.addresses)
                    await asked.lookup("web1", fresh=True)
                    assert await meet() == server.public_key
    assert known.read_text().startswith(f"chanlink://web1 {PublicKey(new.public_key.raw, 'old')}\n@revoked ")
