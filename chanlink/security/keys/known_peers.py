"""Known peers: which key the server at an address has, and who vouches for it.

The file is in ``known_hosts`` syntax (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), one key of one server a line:

    [build.example]:9323 ssh-ed25519 AAAA... build
    |1|bWFyYSBzYWlkIHNv...=|aGFzaA...= ssh-ed25519 AAAA...
    chanlink://web1 ssh-ed25519 AAAA...
    @cert-authority *.example ssh-ed25519 AAAA... our CA
    @revoked * ssh-ed25519 AAAA... stolen

A name without a port stands for the default port, as in ssh, and a Unix socket is written ``unix:/path``. What a
directory knows by a name is written ``chanlink://name``: no pattern of hosts means it, not even ``*``, since that was
written of whoever has an address; but a key that is revoked for ``*`` is so here, too.

An authority vouches for hosts, at any port: its credential has the host as one of its principals, as the program has
named it, in lower case. It vouches for no Unix socket, and for no name of a directory. As in a trust file, and unlike
in ssh, a key that the file has of a server decides alone: then no authority is asked. Where one vouches for a host,
its key is never taken for the right one on first use, either.

Lines with keys of other types are passed over, so that ``~/.ssh/known_hosts`` can be used as it is; they allow
nothing. Any other line that is not understood to its last character is an error, also because it might have revoked
something.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from chanlink.arguments import expect
from chanlink.errors import ConfigError, KeyFormatError, TrustFormatError, WrongPeer
from chanlink.transport.address import Address
from chanlink.transport.target import Target, parse_target

from .credential import HOST
from .files import edit, expand, file_problem, read_kept
from .issuers import check, refused
from .known_lines import Line, following, host_names, names_of, parse
from .openssh import PublicKey
from .presented import Presented
from .successor import Successor
from .syntax import FILE_MAX, check_size
from .trust import Grant, Issued, name_of

DEFAULT_PATH = "~/.config/chanlink/known_peers"


class KnownPeers:
    """Which keys servers have, by their addresses. Made by `load`; it does not change afterwards."""

    __slots__ = ("_lines", "first_use", "path")

    def __init__(self, path: Path, lines: tuple[Line, ...], first_use: bool = False) -> None:
        self.path = path
        self.first_use = first_use
        self._lines = lines

    @classmethod
    def load(cls, path: str | os.PathLike[str] = DEFAULT_PATH, first_use: bool = False) -> Self:
        """Read a file in ``known_hosts`` syntax (synchronously; ``~`` is expanded); one that is missing knows nobody.

        `connect` reads the file again each time. With ``first_use``, it takes the key of a server that the file does
        not know for the right one, and adds it: whoever answers at that address this first time is trusted. Raises
        `TrustFormatError`, ``FILE:LINE: what is wrong``, for the first line that is not understood, and ``FILE: why``
        for a file that can't be read, is larger than 1 MiB, or that everybody may write.
        """
        expect("first_use", first_use, bool)
        try:
            file = expand(path)
            data = read_kept(file, FILE_MAX)
        except KeyFormatError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError):
                raise TrustFormatError(str(exc)) from exc
            data = b""
        return cls(file, parse(file, data), first_use)

    def read_again(self) -> Self:
        """What the file says now. Raises as `load`."""
        return self.load(self.path, self.first_use)

    # --- asking ---

    def find(self, address: str, key: PublicKey) -> Grant | None:
        """What the server at ``address`` (``tcp://host:port``, ``unix:/path``, ``chanlink://name``) with this key may
        do; ``None`` when the file knows no key of that server.

        Raises `WrongPeer` when it knows another one, `UntrustedPeer` when this one is revoked, and `AddressError`.
        """
        expect("key", key, PublicKey)
        return self._find(parse_target(address), Presented(key), 0)

    def _admit(self, address: Target, presented: Presented, now: int) -> Grant | None:
        """As `find`, of a server that has shown this at this time (seconds since 1970); ``None`` when the file neither
        knows a key of it nor who vouches for it.

        Raises `UntrustedPeer`, too, where somebody vouches for such servers, and not for this one.
        """
        grant = self._find(address, presented, now)
        if grant is None and isinstance(address, Address) and not address.path:
            return self._vouched(address, presented, now)
        return grant

    def _follows(self, address: Target, presented: Presented, now: int) -> Successor | None:
        """What the server has shown, if it is because of this that its key is a good one."""
        successor = presented.successor
        if successor is None or successor.new != presented.key or not successor.holds(now):
            return None
        lines = self._about(names_of(address))
        own = [line.key for line in lines if not line.revoked]
        if presented.key in own or successor.old not in own:
            return None
        if any(_is_revoked(lines, key) for key in (presented.key, successor.old)):
            return None
        return successor

    def _about(self, names: tuple[str, ...], authority: bool = False) -> list[Line]:
        """The keys of the server with these names, or of those who vouch for it, and what is revoked for it."""
        return [line for line in self._lines if (line.revoked or line.authority == authority) and line.covers(names)]

    def _find(self, address: Target, presented: Presented, now: int) -> Grant | None:
        lines = self._about(names_of(address))
        if _is_revoked(lines, presented.key):
            raise refused(presented, f"{self.path} says that it is revoked")
        successor = self._follows(address, presented, now)
        known = [line.key for line in lines if not line.revoked]
        for one in known:
            if one == presented.key:
                return Grant(name_of(one), None)
            if successor is not None and one == successor.old:
                return Grant(name_of(PublicKey(presented.key.raw, one.comment)), None)
        if known:
            raise WrongPeer(" or ".join(one.fingerprint for one in known[:3]), presented.key.fingerprint)
        return None

    def _vouched(self, address: Address, presented: Presented, now: int) -> Grant | None:
        lines = self._about(host_names(address), authority=True)
        authorities = [line.key for line in lines if not line.revoked]
        if not authorities:
            return None
        host, credential = address.host.lower(), presented.credential
        if credential is None:
            raise refused(presented, f"{self.path} says who vouches for {host}, and it has shown no credential")
        for what, key in ("it", presented.key), ("the authority of its credential", credential.ca):
            if _is_revoked(lines, key):
                raise refused(presented, f"{self.path} says that {what} is revoked")
        for authority in authorities:
            if authority == credential.ca:
                _check(presented, host, now)
                return Grant(f"{host}@{name_of(authority)}", None, None, Issued(name_of(authority), host, credential))
        whose = credential.ca.fingerprint
        raise refused(presented, f"its credential is of {whose}, which does not vouch for {host} by {self.path}")

    def _revokes(self, address: str, presented: Presented) -> bool:
        """Whether the file says of this server, which was let in before, that its key or its authority is revoked.

        Raises `AddressError`.
        """
        target = parse_target(address)
        if _is_revoked(self._about(names_of(target)), presented.key):
            return True
        if presented.credential is None or not isinstance(target, Address) or target.path:
            return False
        lines = self._about(host_names(target), authority=True)
        return any(_is_revoked(lines, key) for key in (presented.key, presented.credential.ca))

    # --- writing ---

    def add(self, address: str, key: PublicKey) -> None:
        """Add the server's key to the file (synchronously), unless it stands there already.

        The file is replaced as a whole, so that nobody reads half a line, and processes that do so at the same time
        wait for each other; it is made with mode 0600. Raises as `find` when the file knows better by now, and
        `TrustFormatError` when it can't be written.
        """
        expect("key", key, PublicKey)
        target = parse_target(address)

        def added(data: bytes) -> bytes:
            if type(self)(self.path, parse(self.path, data)).find(address, key) is not None:
                return data
            start = data if data.endswith(b"\n") or not data else data + b"\n"
            return start + f"{names_of(target)[0]} {PublicKey(key.raw)}\n".encode()

        self._edit(added)

    def _follow(self, address: Target, presented: Presented, now: int) -> bool:
        """Write (synchronously) that this server's new key has all lines of the old one, which is revoked from now on.

        False if that stands there already. Raises as `add`: another key may have been first.
        """
        is_new = False

        def followed(data: bytes) -> bytes:
            nonlocal is_new
            written = type(self)(self.path, parse(self.path, data))
            written._admit(address, presented, now)
            successor = written._follows(address, presented, now)
            is_new = successor is not None
            return data if successor is None else following(self.path, data, successor.old, successor.new)

        self._edit(followed)
        return is_new

    def _edit(self, changed: Callable[[bytes], bytes]) -> None:
        try:
            with edit(self.path) as file:
                data = file.read(FILE_MAX + 1)
                new = changed(data)
                if new != data:
                    check_size(self.path, new)
                    file.replace(new)
        except (OSError, ValueError) as exc:
            if isinstance(exc, ConfigError):
                raise
            raise TrustFormatError(file_problem(self.path, exc)) from exc


def _is_revoked(lines: list[Line], key: PublicKey) -> bool:
    return any(line.revoked and line.key == key for line in lines)


def _check(presented: Presented, host: str, now: int) -> None:
    """What is asked of a host's credential besides its authority. As with ssh, none of its options is understood."""
    credential = presented.credential
    assert credential is not None
    check(presented, credential, HOST, now)
    if credential.options:
        raise refused(presented, f"its credential has the critical option {credential.options[0][0]!r:.80}")
    if host not in credential.principals:
        names = ", ".join(credential.principals)
        raise refused(presented, f"{host} is none of the hosts of its credential ({names:.200})")
