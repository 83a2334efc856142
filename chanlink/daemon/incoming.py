"""From a client of the network to a local application: strangers never get that far.

It is a `Greeter` like that of a listener, with the same bounds. But who is let in here gets no welcome of ours: the
application that has advertised the service says that, or refuses.
"""

import secrets as randomness
import time
from functools import partial

from chanlink.errors import ConnectionLost, SessionClosed, UntrustedPeer
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.admission import Visitor
from chanlink.security.handshake import Authenticated, keys_for
from chanlink.security.handshake_server import Heard, Met, hear, refuse
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.trust import Grant
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import FORGOTTEN
from chanlink.security.resuming.agreement import SESSION_ID
from chanlink.security.statics import Statics
from chanlink.session.greeter import Greeter
from chanlink.session.register import Unanswered
from chanlink.session.vouching import Vouching
from chanlink.transport.accepting import Listening
from chanlink.transport.base import Transport

from .applications import Application, Applications
from .audit import Audit
from .authorities import Authorities
from .bounds import Full
from .handing import OURS, Handshake, Keys, entries_of, granted, hand_over, vouched
from .journal import INCOMING, Row
from .lines import Entry, Lines

logger = printable_logger(__name__)

NO_ROOM = "the daemon can't write the session down; try again later"
NOBODY = "no application serves it now; try again later"


class Reception(Greeter):
    """Meets the clients of the network at one listener."""

    def __init__(
        self,
        listening: Listening,
        statics: Statics,
        limits: Limits,
        instance: bytes,
        *,
        authorities: Authorities,
        applications: Applications,
        lines: Lines,
        audit: Audit,
    ) -> None:
        super().__init__(listening, statics, authorities.any, limits)
        self._said = limits
        self._instance = instance
        self._authorities = authorities
        self._applications = applications
        self._lines = lines
        self._audit = audit

    async def authenticate(self, transport: Transport, address: str, visitor: Visitor) -> Authenticated | None:
        """As a `Greeter`; always None, since the connection is another process's then."""
        heard = await hear(transport, self.statics, self._said, features=OURS)
        keys, heard = Keys(heard.secrets), heard._replace(secrets=FORGOTTEN)
        try:
            self._pass_on(transport, heard, keys, address, visitor)
        except (UntrustedPeer, SessionClosed) as exc:
            code = exc.code if isinstance(exc, SessionClosed) else "untrusted"
            key = heard.presented.key.fingerprint
            if isinstance(exc, UntrustedPeer):
                why = f": {exc.advice}" if exc.advice else ""
                logger.warning("%s was refused: its key %s is not trusted%s", address, key, why)
            self._audit.refused(INCOMING, code, host=address, key=key, service=heard.service[:64])
            await self._refuse(transport, heard, keys, exc)
            raise
        return None

    async def _refuse(self, transport: Transport, heard: Heard, keys: Keys, why: UntrustedPeer | SessionClosed) -> None:
        secrets = keys.take()
        of_records, buffers = keys_for(secrets, heard.suite, Role.SERVER)
        met = Met(transport, NoiseStream(transport, of_records, secrets, buffers), heard, None)
        await refuse(met, why, {"instance": self._instance} if heard.asked or heard.session else {})

    def _pass_on(self, transport: Transport, heard: Heard, keys: Keys, address: str, visitor: Visitor) -> None:
        """Hand a client over. Raises `UntrustedPeer`, `SessionClosed`, and `Unanswered`."""
        if heard.session:
            self._come_back(transport, heard, keys, address)
            return
        if not heard.service:
            visitor.excuse()
            raise SessionClosed("service-needed", "this is a daemon: say which service the session is for")
        grant = self._authorities.admit(heard.presented, heard.service)
        application = self._chosen(heard, visitor)
        id_ = randomness.token_bytes(SESSION_ID)
        try:
            entry = self._lines.begin(self._row(id_, heard, grant, address, application), application)
        except (Full, OSError) as exc:
            visitor.excuse()
            raise SessionClosed("busy", str(exc)[:200] if isinstance(exc, Full) else NO_ROOM) from exc
        application.take(entry)
        more: dict[str, object] = {}
        if milliseconds := min(heard.asked, application.resume):
            more["resume"] = milliseconds
        if heard.asked:
            more["instance"] = self._instance
        self._hand_over(transport, application, entry, self._handshake(heard, keys, grant, address), more)

    def _chosen(self, heard: Heard, visitor: Visitor) -> Application:
        application = self._applications.choose(heard.service)
        if application is None:
            visitor.excuse()
            raise SessionClosed("busy", NOBODY)
        if self._lines.of_key(heard.presented.key.raw.hex()) >= self._said.sessions_per_key:
            visitor.excuse()
            raise SessionClosed("busy", f"this key has {self._said.sessions_per_key} sessions already; try again later")
        return application

    def _come_back(self, transport: Transport, heard: Heard, keys: Keys, address: str) -> None:
        """Hand the connection of a client that comes back to the application that has its session."""
        entry = self._lines.find(heard.session)
        if entry is None or not _is_that_of(entry, heard):
            raise SessionClosed("gone")
        presented, grant = self._vouching(entry).again(heard.presented)
        application = next(iter(entry.holders), None)
        if not isinstance(application, Application):
            raise Unanswered("its application has not attached the session yet", fault=False)
        handshake = self._handshake(heard._replace(presented=presented), keys, grant, address)
        row = entry.row._replace(host=address, address=presented.address, **vouched(grant))
        try:
            self._lines.change(entry, row)
        except OSError as exc:
            raise Unanswered(f"its return can't be written down: {exc}", fault=False) from exc
        self._hand_over(transport, application, entry, handshake, {"instance": self._instance, "returns": True})

    def _vouching(self, entry: Entry) -> Vouching:
        """What vouches for the client of a session: the same has to when it comes back. Raises as `Entry.presented`."""
        service, presented = entry.row.service, entry.presented()
        admits = partial(self._authorities.admit_still, service=service)
        return Vouching(presented, granted(entry.row, presented), admits)

    def _hand_over(
        self,
        transport: Transport,
        application: Application,
        entry: Entry,
        handshake: Handshake,
        more: dict[str, object],
    ) -> None:
        try:
            hand_over(application.line, transport, entry.id, handshake, **more)
        except ConnectionLost as exc:
            if "returns" not in more:
                self._lines.end(entry, "not-taken")
                application.lost(entry.id)
            application.line.close()
            raise Unanswered(f"the application could not take it: {exc}", fault=False) from exc
        transport.close_now()

    def _row(self, id_: bytes, heard: Heard, grant: Grant, address: str, application: Application) -> Row:
        return Row(
            id=id_.hex(),
            way=INCOMING,
            uid=application.caller.uid,
            user=application.user,
            service=heard.service,
            host=address,
            address=heard.presented.address,
            key=heard.presented.key.raw.hex(),
            since=time.time(),
            **vouched(grant),
        )

    def _handshake(self, heard: Heard, keys: Keys, grant: Grant, address: str) -> Handshake:
        return Handshake(
            keys=keys,
            suite=heard.suite.name,
            presented=heard.presented,
            grant=grant,
            peer_limits=heard.peer_limits,
            features=heard.features,
            round_trip=heard.round_trip,
            limits=entries_of(self._said),
            identity=self.statics.identity.public_key,
            address=address,
        )


def _is_that_of(entry: Entry, heard: Heard) -> bool:
    """Whether a session is that of this client, as far as that can be seen without its proof."""
    row = entry.row
    return row.way == INCOMING and row.key == heard.presented.key.raw.hex() and heard.service in ("", row.service)
