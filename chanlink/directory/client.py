"""`Directory`: the side that asks, by a session that is kept."""

import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Self

import anyio
from anyio import AsyncContextManagerMixin
from anyio.abc import ByteStreamConnectable

from chanlink import (
    CallError,
    CallLost,
    CallRefused,
    ChannelClosed,
    Identity,
    KnownPeers,
    Limits,
    Link,
    PublicKey,
    Trust,
    reconnecting,
)
from chanlink.arguments import expect
from chanlink.backoff import Backoff
from chanlink.instrument import Instrument
from chanlink.printing import printable_logger
from chanlink.security.psk import Psk

from .entries import CLOCK_SKEW, Entry, Signed, entry_of, parse, sign
from .interface import LOOKING_UP, REGISTERING, LookingUp, Registering, Succession, Told, looking_up, registering
from .problems import BadEntry, DirectoryFull, OlderSerial, Overtaken
from .rules import OWNERS
from .seen import Seen
from .store import Gone

logger = printable_logger(__name__)

LIFE = 900
"""Seconds that an entry lives, if nobody says: how long clients are led to a server that is not there any more."""
FOLLOWED = 200_000
"""Entries of which somebody who follows changes keeps the serial."""


class Directory(AsyncContextManagerMixin):
    """A directory, as its clients see it: an async context manager, in whose block there is a session with it.

    `address` and the other parameters are those of `reconnecting`: the session is made anew when it is lost, and calls
    wait for that for 10 s. Give it to `connect` and others as ``directory``. A directory says where servers are. That
    they are who they should be, it says only to who trusts it for that: ``connect(..., trust_directory=True)``.

    What is called raises `CallRefused`, `CallLost` when it could not be asked, and of `CallFailed` what is named there.
    Looking up needs the service ``directory``, the others ``directory.register``. Raises `TypeError` and `ConfigError`.
    """

    def __init__(
        self,
        address: str | ByteStreamConnectable,
        *,
        identity: Identity | None = None,
        peer: PublicKey | None = None,
        trust: Trust | KnownPeers | None = None,
        timeout: float = 10.0,
        limits: Limits | None = None,
        psk: Psk | None = None,
        instruments: Collection[Instrument] = (),
    ) -> None:
        self.identity = identity or Identity.default()
        """Who we are: what we register is signed by it."""
        self._connects = partial(
            reconnecting,
            address,
            identity=self.identity,
            peer=peer,
            trust=trust,
            timeout=timeout,
            limits=limits,
            psk=psk,
            instruments=instruments,
        )
        self._looking_up: LookingUp | None = None
        self._registering: Registering | None = None
        self._link: Link | None = None
        self._seen = Seen()
        self._serial = 0

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        asks, registers = looking_up(), registering()
        async with self._connects() as link:
            self._link = link
            self._looking_up = link.client(asks, LOOKING_UP)
            self._registering = link.client(registers, REGISTERING)
            try:
                yield self
            finally:
                self._link = self._looking_up = self._registering = None

    @property
    def link(self) -> Link:
        """The sessions with it, one after the other. Raises `ChannelClosed` outside of the block."""
        if self._link is None:
            raise ChannelClosed("the directory is used in its block: async with Directory(...) as directory")
        return self._link

    # --- looking up ---

    async def lookup(self, name: str, *, fresh: bool = False) -> list[Entry]:
        """The servers that have this name; none if there are none.

        What was found before is given again until it expires, but not with ``fresh``. What can't be read, is signed
        wrong, or older than what was seen before, is left out and logged.
        """
        expect("name", name, str)
        asks = self._asks()
        found = [] if fresh else self._seen.find(name)
        if not found:
            asked = anyio.current_time()
            told = await asks.lookup(name)
            took = anyio.current_time() - asked
            found = [
                entry for one in told[:OWNERS] if (entry := self._read(one, took)) is not None and entry.name == name
            ]
            self._seen.keep(name, found)
        return found

    async def entries(self, prefix: str = "") -> list[Entry]:
        """All that there is now under names that begin so, in the order of the names."""
        found: dict[tuple[str, bytes], Entry] = {}
        async with aclosing(self.changes(prefix)) as changes:
            async for change in changes:
                if change is None:
                    break
                if isinstance(change, Gone):
                    found.pop(change, None)
                else:
                    found[change.name, change.key.raw] = change
        return [found[which] for which in sorted(found)]

    async def changes(self, prefix: str = "") -> AsyncGenerator[Entry | Gone | None, None]:
        """The entries under names that begin so; None, once, when all that there is was given; then what changes.

        An entry takes the place of the one before of the same name and key: each that is renewed comes again. It goes
        on when the session is lost, or the directory restarted: then comes what is another by then. Whoever leaves it
        has to close it, by `contextlib.aclosing`. Raises `CallError` for what does not become better by itself.
        """
        expect("prefix", prefix, str)
        follower, backoff = _Follower(self, prefix), Backoff()
        while True:
            began = anyio.current_time()
            try:
                async with aclosing(follower.once()) as changes:
                    async for change in changes:
                        yield change
            except (CallLost, CallRefused, Overtaken) as exc:
                if not self._goes_on(exc):
                    raise
            backoff.lived(anyio.current_time() - began)
            await anyio.sleep(backoff.pause())

    def _goes_on(self, problem: CallError) -> bool:
        """Whether the next session may do what this one has not."""
        if self._link is None or self._link.state in ("refused", "closed"):
            return False
        again = ("no-session", "session-lost", "draining", "cancelled", "busy")
        return not isinstance(problem, CallRefused) or problem.code in again

    def _read(self, told: Told, took: float) -> Entry | None:
        """What a directory has told, if it is good. ``took`` is for how long it was on its way, at most."""
        try:
            said = parse(Signed(told["entry"], told["sshsig"]))
            said.check_time(time.time())
            if not self._seen.is_newest(said):
                raise BadEntry(f"a newer entry of {said.name} was seen before")
        except BadEntry as exc:
            logger.warning("passed over an entry that the directory has told: %s", exc.text)
            return None
        return entry_of(said, max(told["left"] / 1_000 - took, 0.0), told.get("prekeys", b""))

    # --- registering ---

    async def register(
        self,
        name: str,
        addresses: Sequence[str],
        services: Sequence[str] = (),
        *,
        life: int = LIFE,
        prekeys: bytes = b"",
    ) -> Entry:
        """Say that our identity is found at these addresses under this name, for ``life`` seconds, 3,600 at most.

        It takes the place of what we said of the name before, or of what the key said in whose place ours comes.
        `Registration` does this again and again. Raises `BadEntry` for what can't be registered, such as an address of
        this machine only; `NameTaken`, `NotAllowed`, `DirectoryFull`, `StoreFailed`; `OlderSerial` if our clock is far
        behind what it once was.
        """
        expect("name", name, str)
        expect("life", life, int)
        expect("prekeys", prekeys, bytes)
        for what, texts in (("addresses", addresses), ("services", services)):
            if isinstance(texts, str):
                raise TypeError(f"{what} must be a list of texts, not one text")
        try:
            return await self._register(name, addresses, services, life, prekeys, 0)
        except OlderSerial as exc:  # our clock was put back, or another process has this identity
            if type(exc.detail) is not int or exc.detail >= time.time_ns() + CLOCK_SKEW * 10**9:
                raise  # what it says is none, or would have us sign for the future
            return await self._register(name, addresses, services, life, prekeys, exc.detail + 1)

    async def _register(
        self, name: str, addresses: Sequence[str], services: Sequence[str], life: int, prekeys: bytes, serial: int
    ) -> Entry:
        self._serial = max(time.time_ns(), self._serial + 1, serial)
        signed = await sign(self.identity, name, addresses, services, self._serial, life)
        successor = await self.identity.successor()
        if successor is None:
            await self._registers().register(signed.entry, signed.sshsig, prekeys)
        else:
            said = Succession(time=successor.time, sshsig=successor.sshsig)
            await self._registers().register(signed.entry, signed.sshsig, prekeys, said)
        return entry_of(parse(signed), life, prekeys)

    async def withdraw(self, name: str) -> None:
        """Say that our identity is not found under this name any more. The name stays ours."""
        expect("name", name, str)
        await self._registers().withdraw(name)

    async def remove(self, name: str) -> bool:
        """Free a name, for whoever registers it next, with all entries under it. False if nobody has it.

        Raises `NotAllowed` unless it is ours, or our line in the directory's trust file has it in ``names="..."``.
        """
        expect("name", name, str)
        return await self._registers().remove(name)

    def _asks(self) -> LookingUp:
        assert self.link
        assert self._looking_up is not None
        return self._looking_up

    def _registers(self) -> Registering:
        assert self.link
        assert self._registering is not None
        return self._registering


class _Follower:
    """Somebody who follows changes, over one session after the other."""

    def __init__(self, directory: Directory, prefix: str) -> None:
        self._directory = directory
        self._prefix = prefix
        self._known: dict[tuple[str, bytes], int] = {}
        """The serials of what was told to be there."""
        self._arrived = False
        """Whether all that there was has been told once."""

    async def once(self) -> AsyncGenerator[Entry | Gone | None, None]:
        """What is another than before, and then what changes, as long as the directory tells."""
        missing = set(self._known)
        async with aclosing(self._directory._asks().changes(self._prefix)) as changes:
            async for change in changes:
                if "told" in change:
                    entry = self._directory._read(change["told"], 0.0)
                    if entry is not None:
                        missing.discard((entry.name, entry.key.raw))
                        if self._is_new(entry):
                            yield entry
                elif "gone" in change:
                    gone = Gone(change["gone"]["name"], change["gone"]["key"])
                    if self._known.pop(gone, None) is not None:
                        yield gone
                elif "current" in change:
                    for name, key in sorted(missing):
                        if self._known.pop((name, key), None) is not None:
                            yield Gone(name, key)
                    missing.clear()
                    if not self._arrived:
                        self._arrived = True
                        yield None

    def _is_new(self, entry: Entry) -> bool:
        if not entry.name.startswith(self._prefix):
            return False
        which = entry.name, entry.key.raw
        known = self._known.get(which)
        self._known[which] = entry.serial
        if len(self._known) > FOLLOWED:
            raise DirectoryFull(f"the directory tells of more than {FOLLOWED} entries; give a longer prefix")
        return known != entry.serial
