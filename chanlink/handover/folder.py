"""Where the sockets of a daemon are (protocol section 16.1)."""

import os
import re

from chanlink.errors import AddressError

FOLDER, VARIABLE = "/run/chanlink", "CHANLINK_RUN"
CONNECTING, SERVING = "ipc", "import"
"""The folders in it, and what the groups of the sockets begin with."""
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,24}")


def folder(given: str | os.PathLike[str] | None = None) -> str:
    """The folder: this one, or as the environment says it."""
    return os.fspath(given) if given is not None else os.environ.get(VARIABLE) or FOLDER


def check_service(service: str) -> str:
    """The name of a service, if it can be one of a daemon. Raises `AddressError`."""
    if _SERVICE.fullmatch(service) is None:
        raise AddressError(
            f"{service!r:.100} is no service of a daemon: 1 to 25 of a-z, 0-9, _ and -, beginning with none of the last"
        )
    return service
