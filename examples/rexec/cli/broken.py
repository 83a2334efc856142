"""What went wrong between us and a server, in one line that says what to do. It imports next to nothing."""

from typing import TYPE_CHECKING

from .arguments import Options
from .connecting import Destination, Disconnected

if TYPE_CHECKING:
    import chanlink


def explain_client(error: Exception, options: Options) -> str | None:
    """What went wrong between us and the server, and what to do, in one line; None for a defect of ours."""
    from .explaining import explain

    match error:
        case Disconnected() if isinstance(error.__cause__, Exception):
            return _explain_broken(error.__cause__, error.where)
    return explain(error)


def _explain_broken(error: Exception, where: Destination) -> str:
    """Why there is no connection to the server, or none any more."""
    import chanlink

    match error:
        case chanlink.ConnectFailed() if where.local is not None:
            return str(error)  # it names the host, and says what the daemon has found
        case chanlink.ConnectFailed() if str(error).startswith("chanlink://"):
            return str(error)  # which says all: of a name there is no address to check
        case chanlink.ConnectFailed():
            start = "" if where.name == where.address else f"{where.name}: "  # the error names the address
            return f"{start}{error}; check the address, and that rexec serve runs there"
        case chanlink.UntrustedPeer():
            return f"{where.name}: {_explain_untrusted(error, where)}"
        case chanlink.WrongPeer() if where.local is not None:
            return f"{where.name}: {error}; the daemon has the right key from its hosts.toml, or its directory"
        case chanlink.WrongPeer() if where.peer is None:
            return (
                f"{where.name}: {error}; if the server has a new key, replace the old one with: "
                f"chanlink peers remove {where.address}, and then add the new one"
            )
        case chanlink.WrongPeer():
            return f"{where.name}: {error}; check the address, or give the right key with --peer"
        case chanlink.HandshakeError(code="clock"):
            return f"{where.name}: {error}"
        case chanlink.HandshakeError() if where.local is not None:
            return f"{where.name}: {str(error).removeprefix(f'{where.local}: ')}"
        case chanlink.HandshakeError():
            return f"{where.name}: {error}; check that it is a rexec server"
        case chanlink.SessionClosed(code="busy") if where.local is not None:
            return f"{where.name}: {error.text}"
        case chanlink.ChannelRefused(code="no-such-service"):
            return f"{where.name}: the server does not let us do that; its trust file can allow our key more"
        case chanlink.ChannelFailed(code="server-stopped"):
            return f"{where.name}: {error.text}"
        case chanlink.SessionLost(orderly=True):
            return f"{where.name}: the server closed the connection before we were done; was it stopped?"
        case chanlink.SessionLost():
            return f"{where.name}: the connection was lost: {error.cause}"
    return f"{where.name}: the server gave up: {error}"


def _explain_untrusted(error: "chanlink.UntrustedPeer", where: Destination) -> str:
    if error.remote:
        return f"the server does not trust our key; {error.advice}"
    if where.local is not None:
        return f"the server has the key {error.fingerprint}: {error.advice}"
    if error.advice:
        more = "; or see --first-use" if error.key else ""
        return f"the server has the key {error.fingerprint}, which we do not trust: {error.advice}{more}"
    return f"the server has the key {error.fingerprint}, which is not in {where.peer}; see --peer"
