"""`Ssh`: OpenSSH carries the bytes to a machine where only sshd can be reached."""

import re
import shlex
from collections.abc import Sequence

from chanlink.arguments import expect
from chanlink.errors import AddressError, ConfigError, ConnectFailed
from chanlink.printing import printable, printable_logger

from .banner import Reader, new_token
from .base import BROKEN, Transport
from .carried import Carrier, Means
from .exec import ChildTransport, start

logger = printable_logger(__name__)

COMMAND = ("chanlink", "stdio")
"""What is run on the other machine, and is told the token and our key by options."""
BUFFER = 4096

_WORD = re.compile(r"[A-Za-z0-9._:][A-Za-z0-9._:-]*")
_HOST = r"\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@/:\s\[\]]+)"
_TEXT = re.compile(rf"ssh://(?:(?P<user>[^@/\s]+)@)?(?:{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")


class Ssh(Carrier):
    """The machine that ``ssh host`` reaches, with what its user may do there.

    ``ssh`` runs, with its own files and its own questions, and ``chanlink stdio`` answers at the other side. Both sides
    tell each other their keys over ssh, and believe them for this session only; no file learns of them. Such a session
    can't be resumed: each connection leads to another process.
    """

    resumes = False

    def __init__(
        self,
        host: str,
        *,
        user: str | None = None,
        port: int | None = None,
        options: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """``host`` may be an alias of ``~/.ssh/config``; ``options`` are words for ssh (``["-J", "jump"]``);
        ``command`` is what to run there, as words. Raises `TypeError`, and `AddressError` for a host or user that
        would be something else to ssh or to a shell."""
        expect("host", host, str)
        expect("user", user, str, type(None))
        expect("port", port, int, type(None))
        for name, word in ("host", host), ("user", user):
            if word is not None and not _WORD.fullmatch(word):
                raise AddressError(f"the {name} {word!r:.100} is none for ssh: letters, digits and . _ : - only")
        if port is not None and not 0 < port < 65_536:
            raise AddressError("a port is 1 to 65535")
        for name, words in ("options", options), ("command", command):
            if (
                isinstance(words, str)
                or not isinstance(words, Sequence)
                or not all(isinstance(word, str) for word in words)
            ):
                raise TypeError(f"{name} must be words, not one text")
        if not command:
            raise ConfigError("command has no word: the first one is the program")
        self._host, self._user, self._port = host, user, port
        self._options, self._command = tuple(options), tuple(command)

    @classmethod
    def parse(cls, text: str, *, command: Sequence[str] = COMMAND) -> "Ssh":
        """Read ``ssh://user@host:port``, where only the host is needed. Raises `AddressError`."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise AddressError(f"{text!r:.200} is no address; write ssh://host or ssh://user@host:port")
        port = int(match["port"]) if match["port"] else None
        return cls(match["ipv6"] or match["host"], user=match["user"], port=port, command=command)

    def __str__(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        user = f"{self._user}@" if self._user else ""
        return f"ssh://{user}{host}" + (f":{self._port}" if self._port else "")

    def __repr__(self) -> str:
        return f"Ssh({str(self)!r})"

    def words(self, token: str, key: str) -> list[str]:
        """What is run here."""
        there = [*self._command, "--token", token]
        if key:
            there += ["--key", key.split(" ")[1]]
        user = ["-l", self._user] if self._user else []
        port = ["-p", str(self._port)] if self._port else []
        return ["ssh", "-T", "-x", "-a", *user, *port, *self._options, "--", self._host, shlex.join(there)]

    async def connect_with(self, means: Means) -> Transport:
        """As a `Carrier`. Raises `ConnectFailed`."""
        token = new_token()
        transport = await start(self.words(token, means.key))
        try:
            transport.vouch_for(await self._answer(transport, token))
        except BaseException:
            await transport.aclose()
            raise
        return transport

    async def _answer(self, transport: ChildTransport, token: str) -> str:
        reader, buffer = Reader(token), memoryview(bytearray(BUFFER))
        while True:
            await transport.wait_readable()
            try:
                size = transport.receive_now(buffer)
            except BROKEN:
                size = 0
            if size == 0:
                words = await transport.why_ended() or "its output has ended"
                raise ConnectFailed(f"{self}: {words}, without a session; {self._advice(reader.before)}")
            try:
                answer = reader.feed(buffer[: size or 0])
            except ConnectFailed as exc:
                raise ConnectFailed(f"{self}: {exc}") from None
            if answer is not None:
                if answer.before:
                    logger.info("%s says before the session: %s", self, answer.before.decode(errors="replace"))
                return answer.key

    def _advice(self, before: bytes) -> str:
        last = before.decode(errors="replace").strip().rpartition("\n")[2]
        said = f" (it has said: {printable(last)[:200]})" if last else ""
        return f"is {self._command[0]} installed there, and does ssh {self._host} work?{said}"
