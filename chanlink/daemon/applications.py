"""The applications that have advertised a service: each has one line, which is that of all its sessions."""

from collections import defaultdict

from chanlink.errors import ConnectionLost
from chanlink.handover.messages import Changed, Over
from chanlink.handover.passing import Line

from .accounts import Caller
from .bounds import ADVERTISED, Held
from .lines import Entry, Lines


class Application:
    """One that has advertised."""

    def __init__(self, line: Line, caller: Caller, user: str, service: str, resume: int) -> None:
        self.line = line
        self.caller = caller
        self.user = user
        self.service = service
        self.resume = resume
        """For how many milliseconds its clients may be away; 0 if they may not."""
        self.takes_more = True
        self.sessions: dict[bytes, Entry] = {}

    def withdraw(self) -> None:
        """It takes no more sessions."""
        self.takes_more = False

    def take(self, entry: Entry) -> None:
        """This session is its own from now on."""
        self.sessions[entry.id] = entry
        entry.hold(self)

    def tell(self, id_: bytes, code: str) -> None:
        """As a `Holder`: an application that does not read what it is told has no line."""
        self.sessions.pop(id_, None)
        try:
            self.line.send_now(Over(id=id_, code=code))
        except ConnectionLost:
            self.line.close()

    def rename(self, id_: bytes, name: str) -> None:
        """As a `Holder`."""
        try:
            self.line.send_now(Changed(id=id_, name=name))
        except ConnectionLost:
            self.line.close()

    def lost(self, id_: bytes) -> None:
        """As a `Holder`."""
        self.sessions.pop(id_, None)


class Applications:
    """All of them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._of_service: defaultdict[str, dict[Application, None]] = defaultdict(dict)
        self.held = Held(ADVERTISED)

    def __len__(self) -> int:
        return len(self.held)

    def add(self, application: Application) -> None:
        """One has advertised. Raises `Full`."""
        self.held.check(application.caller.uid)
        self.held.add(application.caller.uid)
        self._of_service[application.service][application] = None

    def remove(self, application: Application, now: float) -> None:
        """Its line has ended: its sessions wait for another one."""
        self.held.give(application.caller.uid)
        of_service = self._of_service[application.service]
        del of_service[application]
        if not of_service:
            del self._of_service[application.service]
        for entry in list(application.sessions.values()):
            self._lines.let_go(entry, application, now)

    def choose(self, service: str) -> Application | None:
        """The one with the fewest sessions; None if nobody takes any. One that was chosen before comes last."""
        of_service = self._of_service.get(service, {})
        ready = [one for one in of_service if one.takes_more]
        if not ready:
            return None
        chosen = min(ready, key=lambda one: len(one.sessions))
        of_service[chosen] = of_service.pop(chosen)
        return chosen
