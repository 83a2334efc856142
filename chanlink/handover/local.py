"""`Local` and `Advertised`: what stands for an address where a daemon of this machine has the keys."""

import dataclasses
import os

from chanlink.arguments import expect
from chanlink.errors import AddressError

from .folder import CONNECTING, SERVING, check_service, folder
from .messages import HOST_MAX


@dataclasses.dataclass(frozen=True, slots=True)
class Local:
    """A host that the daemon of this machine connects to, with the key that it keeps for this user.

    `chanlink.connect` takes it for an address, and so does whatever connects. ``host`` is a name that the daemon knows,
    from its directory or its file of hosts. The session is for ``service`` alone, which this user has to have been
    given (the group ``ipc-SERVICE``). ``folder`` is where the daemon has its sockets: ``$CHANLINK_RUN``, or
    ``/run/chanlink``, if none is given. Raises `AddressError`.
    """

    host: str
    """The host, as the daemon knows it."""
    service: str = dataclasses.field(kw_only=True)
    """The only service that the session is for."""
    folder: str | os.PathLike[str] | None = dataclasses.field(default=None, kw_only=True, repr=False)
    """Where the daemon has its sockets."""

    def __post_init__(self) -> None:
        expect("host", self.host, str)
        _check(self.service, self.folder)
        if not 0 < len(self.host.encode()) <= HOST_MAX or not self.host.isprintable():
            raise AddressError(f"{self.host!r:.300} is no name of a host")

    def __str__(self) -> str:
        return f"{self.host} ({self.service}, by the daemon)"

    @property
    def path(self) -> str:
        """Of the daemon's socket."""
        return os.path.join(folder(self.folder), CONNECTING, self.service)


@dataclasses.dataclass(frozen=True, slots=True)
class Advertised:
    """A service that the daemon of this machine takes clients for.

    `chanlink.listen` and `serve` take it for an address. Strangers never reach this process: the daemon has
    authenticated whoever comes, and looked at whether it may use the service. This user has to have been allowed to
    serve it (the group ``import-SERVICE``). ``folder`` is as for `Local`. Raises `AddressError`.
    """

    service: str
    """What is served."""
    folder: str | os.PathLike[str] | None = dataclasses.field(default=None, kw_only=True, repr=False)
    """Where the daemon has its sockets."""

    def __post_init__(self) -> None:
        _check(self.service, self.folder)

    def __str__(self) -> str:
        return f"{self.service} (by the daemon)"

    @property
    def path(self) -> str:
        """Of the daemon's socket."""
        return os.path.join(folder(self.folder), SERVING, self.service)


def _check(service: str, where: object) -> None:
    expect("service", service, str)
    expect("folder", where, str, os.PathLike, type(None))
    check_service(service)
