"""Sessions whose peers are vouched for by an authority: real handshakes, real files (protocol sections 2.5 and 3.5)."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chanlink import (
    Credential,
    HandshakeError,
    Identity,
    KnownPeers,
    Limits,
    Listener,
    RemoteProtocolError,
    Session,
    SessionClosed,
    Trust,
    TrustFormatError,
    UntrustedPeer,
)
from chanlink.security import statics
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.credential import HOST
from chanlink.security.keys.trust import Grant
from chanlink.session import vouching
from tests.patience import until
from tests.security.keys.credentials import CA, save
from tests.security.keys.programs import needs_ssh_keygen, ssh_keygen

from .endpoints import ask, connect, dial, ping, refusal, serving
from .ways import Way, way_to

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])
QUICK = Limits(keepalive=0.3, trust_interval=0.05)
"""Those who look after a session do so ten times a second."""
HOUR = 3_600


class Org:
    """An organization: its authority, and the files of those who trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = CA("org")
        self.user, self.host = folder / "alice", folder / "server"
        for file in (self.user, self.host):
            Identity.generate(file.name).save(file)
        self.may_connect = folder / "may_connect"
        self.trusts()
        self.known = folder / "known"
        self.known.write_text(f"@cert-authority 127.0.0.1 {self.ca.key}\n")
        self.vouches_for_host()

    def trusts(self, more: str = "", principals: str = "bob,alice") -> None:
        line = f'cert-authority,issuer="org",principals="{principals}"{more} {self.ca.key}'
        self.may_connect.write_text(f"{line}\n")

    def vouches(self, *principals: str, **options: Any) -> Credential:
        """For the user, whose file says so from now on."""
        credential = self.ca.issue(Identity.load(self.bare(self.user)).public_key, *principals, **options)
        save(credential, self.user)
        return credential

    def vouches_for_host(self, *principals: str, **options: Any) -> Credential:
        key = Identity.load(self.bare(self.host)).public_key
        credential = self.ca.issue(key, *(principals or ("127.0.0.1",)), type=HOST, **options)
        save(credential, self.host)
        return credential

    def bare(self, key: Path) -> Path:
        """Where there is nothing beside the key."""
        bare = self.folder / "bare" / key.name
        if not bare.exists():
            bare.parent.mkdir(exist_ok=True)
            bare.write_bytes(key.read_bytes())
            bare.chmod(0o600)
        return bare

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Listener]:
        ours = {"identity": Identity.load(self.host), "trust": Trust.load(self.may_connect), "limits": QUICK}
        async with serving(**ours | options) as listener:
            yield listener

    def connect(self, address: str, **options: Any) -> Any:
        ours = {"identity": Identity.load(self.user), "peer": None, "trust": KnownPeers.load(self.known)}
        return connect(address, **ours | {"limits": QUICK} | options)


@pytest.fixture
def org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Org:
    monkeypatch.setattr(statics, "LOOK", 0.0)  # what has been renewed is seen at once
    return Org(tmp_path)


async def session_of(listener: Listener) -> Session:
    await until(lambda: bool(listener.sessions))
    (session,) = listener.sessions
    return session


# --- who is let in ------------------------------------------------------------------------------


async def test_an_authority_vouches_for_both_sides(org: Org) -> None:
    credential = org.vouches("alice", "root")
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        assert (await ask(session))["you"] == "alice@org"
        peer = (await session_of(listener)).peer
        assert peer.issued is not None
        assert (peer.issued.issuer, peer.issued.principal, peer.issued.credential) == ("org", "alice", credential)
        assert session.peer.issued is not None
        assert session.peer.issued.principal == "127.0.0.1"


async def test_one_by_a_line_of_its_own_has_nothing_else_that_vouches(org: Org) -> None:
    org.vouches("alice")
    org.may_connect.write_text(f"{Identity.load(org.user).public_key}\n")
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        assert (await ask(session))["you"] == "alice"
        assert (await session_of(listener)).peer.issued is None


NOW = int(time.time())


@one_backend
@pytest.mark.parametrize(
    ("credential", "words"),
    [
        ({"before": NOW - 1}, ""),  # which is not shown
        ({"after": NOW + HOUR}, ""),
        ({"principals": ("mallory",)}, "principal"),
        ({"source_address": "192.0.2.0/24"}, "127.0.0.1"),
        ({"options": {"new@example": b""}}, "new@example"),
    ],
    ids=["it has ended", "not valid yet", "another principal", "another address", "an unknown option"],
)
async def test_one_that_does_not_count_lets_nobody_in(
    org: Org, credential: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    org.vouches(*credential.pop("principals", ("alice",)), **credential)
    async with org.serving() as listener:
        with caplog.at_level(logging.WARNING), pytest.raises(UntrustedPeer) as caught:
            async with org.connect(listener.addresses[0]):
                pass
    assert caught.value.remote
    assert [one for one in caplog.messages if "was refused" in one and words in one]


@one_backend
async def test_one_of_another_authority_lets_nobody_in(org: Org) -> None:
    save(CA().issue(Identity.load(org.user).public_key, "alice"), org.user)
    async with org.serving() as listener:
        with pytest.raises(UntrustedPeer):
            async with org.connect(listener.addresses[0]):
                pass


@one_backend
async def test_one_for_this_address_lets_in_who_has_it(org: Org) -> None:
    org.vouches("alice", source_address="127.0.0.0/8")
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        assert (await ask(session))["you"] == "alice@org"
    async with org.serving(address=f"unix:{org.folder}/socket") as listener:
        with pytest.raises(UntrustedPeer):  # who comes by this has no address
            async with org.connect(listener.addresses[0], trust=None, peer=Identity.load(org.host).public_key):
                pass


@one_backend
async def test_a_host_that_nobody_vouches_for_is_not_the_one(org: Org) -> None:
    org.vouches("alice")
    org.vouches_for_host("elsewhere.example")
    async with org.serving() as listener:
        with pytest.raises(UntrustedPeer) as caught:
            async with org.connect(listener.addresses[0]):
                pass
    assert not caught.value.remote


# --- what is revoked ----------------------------------------------------------------------------


@needs_ssh_keygen
async def test_what_is_revoked_ends_and_does_not_come_in_again(org: Org) -> None:
    org.vouches("alice", serial=7)
    (org.folder / "org.pub").write_text(f"{org.ca.key}\n")
    (org.folder / "spec").write_text("serial: 8\n")
    krl = org.folder / "krl"
    ssh_keygen("-q", "-k", "-f", krl, "-s", org.folder / "org.pub", org.folder / "spec")
    async with org.serving(revoked=krl) as listener, org.connect(listener.addresses[0]) as session:
        assert (await ask(session))["you"] == "alice@org"
        (org.folder / "spec").write_text("serial: 6-9\n")
        ssh_keygen("-q", "-k", "-f", krl, "-s", org.folder / "org.pub", org.folder / "spec")
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"
        with pytest.raises(UntrustedPeer):
            async with org.connect(listener.addresses[0]):
                pass


@one_backend
async def test_a_list_of_what_is_revoked_that_can_not_be_read_is_an_error_at_the_start(org: Org) -> None:
    with pytest.raises(TrustFormatError):
        async with org.serving(revoked=org.folder / "none"):
            pass


@one_backend
async def test_a_plain_key_is_revoked_by_such_a_list_too(org: Org) -> None:
    key = Identity.load(org.user).public_key
    (org.folder / "revoked").write_text(f"{key}\n")
    async with org.serving(trust=Trust.of(key), revoked=org.folder / "revoked") as listener:
        with pytest.raises(UntrustedPeer):
            async with org.connect(listener.addresses[0]):
                pass


# --- how long -----------------------------------------------------------------------------------


class Calendar:
    """What the clock on the wall says, to both sides: nobody waits for what a test only has to turn a page for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + self._ahead)

    def goes_on(self, seconds: int) -> None:
        self._ahead += seconds


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


async def test_a_session_ends_when_the_credential_of_its_client_has(
    org: Org, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouching, "GRACE", 0)
    org.vouches("alice", before=int(time.time()) + HOUR)
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        assert (await ask(session))["you"] == "alice@org"
        server = await session_of(listener)
        calendar.goes_on(HOUR)
        for one in (session, server):
            cause = await one.wait_closed()
            assert isinstance(cause, SessionClosed)
            assert cause.code == "expired"


@one_backend
async def test_a_session_ends_when_the_credential_of_its_server_has(
    org: Org, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouching, "GRACE", 0)
    org.vouches("alice")
    org.vouches_for_host(before=int(time.time()) + HOUR)
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        calendar.goes_on(HOUR)
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "expired"


async def test_a_newer_credential_of_either_side_is_shown_while_the_session_lasts(org: Org) -> None:
    soon = int(time.time()) + 60  # less than a quarter of the hour
    org.vouches("alice", after=soon - HOUR, before=soon)
    org.vouches_for_host(after=soon - HOUR, before=soon)
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        server = await session_of(listener)
        renewed, of_host = org.vouches("alice", before=soon + HOUR), org.vouches_for_host(before=soon + HOUR)
        for one in (session, server):  # they may have looked before
            assert one._vouching is not None
            one._vouching._look_at = 0.0
        await until(lambda: server.peer.issued is not None and server.peer.issued.credential == renewed)
        await until(lambda: session.peer.issued is not None and session.peer.issued.credential == of_host)
        assert (await ask(session))["you"] == "alice@org"


@asynccontextmanager
async def breaking(org: Org, **options: Any) -> AsyncIterator[tuple[Session, Session, Way]]:
    """Both sides of a session that may be resumed, and the way between them."""
    async with (
        org.serving(**options) as listener,
        way_to(listener) as way,
        org.connect(way.address, resume=60) as session,
    ):
        yield session, await session_of(listener), way


async def back(session: Session, way: Way) -> None:
    before = way.taken
    way.cut()
    await until(lambda: way.taken > before and session.state == "open")


async def test_who_comes_back_shows_the_newest(org: Org) -> None:
    org.vouches("alice", before=int(time.time()) + HOUR)
    async with breaking(org) as (session, server, way):
        renewed, of_host = org.vouches("alice"), org.vouches_for_host(before=2**63)
        assert of_host.valid_before < 2**64 - 1
        await back(session, way)
        assert (await ask(session))["you"] == "alice@org"
        assert server.peer.issued is not None
        assert server.peer.issued.credential == renewed


async def test_who_comes_back_when_its_credential_has_just_ended_has_some_time_yet(
    org: Org, calendar: Calendar
) -> None:
    ended = org.vouches("alice", before=int(time.time()) + HOUR)
    async with breaking(org) as (session, server, way):
        calendar.goes_on(HOUR)
        assert not ended.holds(int(time.time()))
        await back(session, way)
        assert (await ask(session))["you"] == "alice@org"
        assert server.peer.issued is not None
        assert server.peer.issued.credential == ended


@one_backend
async def test_an_away_session_ends_with_its_credential_and_the_client_is_told_so(
    org: Org, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouching, "GRACE", 0)
    org.vouches("alice", before=int(time.time()) + HOUR)
    async with breaking(org) as (session, server, way):
        assert (await ask(session))["you"] == "alice@org"
        way.close()
        await until(lambda: session.state == "away")
        calendar.goes_on(HOUR)
        assert (await server.wait_closed()).code == "expired"
        way.is_open = True
        assert (await session.wait_closed()).code == "expired"


@one_backend
async def test_something_else_that_vouches_for_the_key_ends_the_way_back(org: Org) -> None:
    org.vouches("alice", before=int(time.time()) + HOUR)
    async with breaking(org) as (session, _, way):
        org.vouches("bob", before=int(time.time()) + 2 * HOUR)
        way.cut()
        assert "given the session up" in str(await session.wait_closed())


@one_backend
async def test_who_comes_back_is_asked_for_its_address_again(org: Org) -> None:
    org.vouches("alice", source_address="127.0.0.1/32")
    async with breaking(org) as (session, server, way):
        await back(session, way)
        assert (await ask(session))["you"] == "alice@org"
        way.source = "127.0.0.2"
        way.cut()
        cause = await session.wait_closed()
        assert isinstance(cause, UntrustedPeer)
        assert cause.remote
        assert server.state == "away"


@one_backend
async def test_a_record_that_is_no_credential_ends_the_session(org: Org) -> None:
    org.vouches("alice")
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        server = await session_of(listener)
        session._below.show_credential(b"what is none")
        cause = await server.wait_closed()
        assert isinstance(cause, RemoteProtocolError)
        assert "a credential that can't be read" in str(cause)
        assert (await session.wait_closed()).code == "protocol-error"


@one_backend
async def test_one_that_does_not_count_is_skipped_and_logged(org: Org, caplog: pytest.LogCaptureFixture) -> None:
    credential = org.vouches("alice", before=int(time.time()) + HOUR)
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        server = await session_of(listener)
        with caplog.at_level(logging.INFO):
            for other in (credential, CA().issue(credential.key, "alice"), org.ca.issue(credential.key, "bob")):
                session._below.show_credential(other.blob)
                assert (await ask(session))["you"] == "alice@org"
        assert server.peer.issued is not None
        assert server.peer.issued.credential == credential
    assert sum("does not count" in one for one in caplog.messages) >= 3


@one_backend
async def test_one_that_restricts_more_does_so_from_then_on(org: Org) -> None:
    org.vouches("alice", before=int(time.time()) + HOUR)
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        assert (await ask(session))["you"] == "alice@org"
        server = await session_of(listener)
        forced = org.vouches("alice", force_command="date")
        session._below.show_credential(forced.blob)
        await until(lambda: server.peer.issued is not None and server.peer.issued.credential == forced)
        assert (await refusal(session, "ping")).code == "no-such-service"


async def test_a_change_of_trust_does_not_end_what_has_some_time_yet(org: Org, calendar: Calendar) -> None:
    ended = org.vouches("alice", before=int(time.time()) + HOUR)
    async with org.serving() as listener, org.connect(listener.addresses[0]) as session:
        server = await session_of(listener)
        calendar.goes_on(HOUR)
        assert not ended.holds(int(time.time()))
        org.trusts(principals="alice", more=',services="ping"')
        await until(lambda: not server._reception.may_use("pong"))
        assert (await ask(session))["you"] == "alice@org"
        org.trusts(principals="bob")
        assert (await session.wait_closed()).code == "revoked"


# --- early, and over a stream -------------------------------------------------------------------


@one_backend
async def test_the_first_message_shows_the_credential_of_a_client(org: Org) -> None:
    org.vouches("alice")
    host = Identity.load(org.host).public_key
    options: dict[str, Any] = {"early": True, "known_prekeys": org.folder / "prekeys", "trust": None, "peer": host}
    async with org.serving() as listener:
        async with org.connect(listener.addresses[0], **options) as session:
            assert (await ask(session))["you"] == "alice@org"
        async with org.connect(listener.addresses[0], **options) as session:
            assert (await ask(session))["you"] == "alice@org"
            assert session.early == "taken"


@one_backend
async def test_a_peer_that_shows_what_can_be_no_credential_of_its_own_fails(org: Org) -> None:
    other = Identity.generate()
    identity = Identity.load(org.user)

    class Lying:
        def __getattr__(self, name: str) -> Any:
            return getattr(identity, name)

        async def credential(self, type: int = 1) -> Credential:
            return org.ca.issue(other.public_key, "alice")

    async with org.serving() as listener:
        statics_of = statics.Statics(identity, Role.CLIENT)
        statics_of.identity = Lying()  # type: ignore[assignment]
        with pytest.raises(HandshakeError):
            await handshake_as_client(await dial(listener), statics_of, lambda presented: Grant("", None), QUICK)


@one_backend
async def test_the_service_of_a_session_and_who_vouches_are_two_things(org: Org) -> None:
    """Of what the authority's line allows, the session can use the one that it is for; also after a return."""
    org.trusts(more=',services="ping,other"')
    org.vouches("alice")
    async with (
        org.serving(services={"ping": ping, "other": ping, "third": ping}) as listener,
        way_to(listener) as way,
        org.connect(way.address, service="ping", resume=60) as session,
    ):
        for _ in range(2):
            assert (await ask(session))["you"] == "alice@org"
            for name in ("other", "third"):
                assert (await refusal(session, name)).code == "no-such-service"
            await back(session, way)


@one_backend
async def test_who_is_known_by_its_own_key_may_show_what_it_likes(org: Org, caplog: pytest.LogCaptureFixture) -> None:
    key = Identity.load(org.bare(org.user)).public_key
    async with org.serving(trust=Trust.of(key)) as listener, org.connect(listener.addresses[0]) as session:
        with caplog.at_level(logging.INFO):
            session._below.show_credential(b"what is none")
            assert (await ask(session))["pong"] == 7
        assert (await session_of(listener)).peer.issued is None
    assert any("is known by its own key, and has shown" in one for one in caplog.messages)
