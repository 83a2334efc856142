"""Clients that an authority vouches for come back to an application by the daemon: whole sessions, cut by a proxy."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink.daemon.journal import read_rows
from chanlink.security import statics
from chanlink.session.vouching import GRACE
from tests.cutting import cutting
from tests.patience import until
from tests.security.keys.credentials import CA, FOREVER, save

from .places import Host

pytestmark = pytest.mark.anyio

END, LATER = 2_000_000_000, 2_100_000_000
"""Seconds since 1970."""
ORG, OTHER = CA("org"), CA("other")


async def whoami(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for reply in requests:
        async with reply:
            assert peer.issued is not None
            await reply.send([peer.name, peer.issued.credential.valid_before])


async def ask(session: chanlink.Session) -> object:
    async with await session.open("ping") as requests:
        reply, replies = chanlink.pipe()
        await requests.send(reply)
        async with replies:
            return await replies.receive()


class Alice:
    """A user, and what its organization says of it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._key = chanlink.Identity.generate("alice").save(file)
        self.shows(before=END)
        self.identity = chanlink.Identity.load(file)

    def shows(self, *principals: str, ca: CA = ORG, **options: Any) -> None:
        """This credential from now on."""
        key = chanlink.PublicKey.load(self._file.with_name(f"{self._file.name}.pub"))
        save(ca.issue(key, *principals, **options), self._file)

    def shows_none(self) -> None:
        self._file.with_name(f"{self._file.name}-cert.pub").unlink()


@asynccontextmanager
async def cut_after(
    host: Host, alice: Alice, change: Callable[[], None]
) -> AsyncIterator[tuple[chanlink.Session, chanlink.Listener]]:
    """A session by the daemon that has something else to show when its connection breaks, and its listener."""
    lines = [f'cert-authority,issuer="{ca.key.comment}",principals="alice,bob" {ca.key}\n' for ca in (ORG, OTHER)]
    host.folder.trust.write_text("".join(lines))
    advertised = chanlink.Advertised("ping", folder=host.run)
    async with host.running() as daemon, chanlink.listen(advertised, services={"ping": whoami}) as listener:
        with cutting(daemon.addresses[0]) as proxy:
            async with chanlink.connect(
                proxy.address, identity=alice.identity, peer=host.key, service="ping", resume=60.0
            ) as session:
                assert await ask(session) == ["alice@org", END]
                change()
                proxy.cut()
                yield session, listener


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Alice:
    monkeypatch.setattr(statics, "LOOK", 0.0)  # what has been renewed is seen at once
    return Alice(tmp_path / "alice")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("change", "end"),
    [
        (lambda alice: None, END),
        (Alice.shows_none, END),
        (lambda alice: alice.shows(before=LATER), LATER),
        (lambda alice: alice.shows(before=FOREVER), FOREVER),
        (lambda alice: alice.shows(before=END - 1), END),
        (lambda alice: alice.shows(ca=OTHER, before=LATER), END),
    ],
    ids=["same", "none", "newer", "one without an end", "older", "of another authority"],
)
async def test_who_is_vouched_for_comes_back_by_the_newest_credential_that_it_has_shown(
    host: Host, alice: Alice, change: Callable[[Alice], None], end: int
) -> None:
    async with cut_after(host, alice, lambda: change(alice)) as (session, listener):
        assert await ask(session) == ["alice@org", end]
        [other] = listener.sessions
        assert other._vouching is not None
        expires = None if end == FOREVER else end + GRACE
        await until(lambda: other._vouching.expires == expires)
        assert [row.expiry for row in read_rows(host.folder.journal)] == [expires or 0]


async def test_who_comes_back_as_another_principal_has_no_session_any_more(host: Host, alice: Alice) -> None:
    async with cut_after(host, alice, lambda: alice.shows("bob", before=LATER)) as (session, _):
        assert isinstance(await session.wait_closed(), chanlink.SessionError)
