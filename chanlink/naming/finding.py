"""`connect` and `reconnecting`, as programs have them: a name is asked of the directory that the user has set.

They are made above the rooms that they come from, since whoever asks a directory has a session with it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from chanlink.links import reconnecting as links
from chanlink.session import connecting as sessions
from chanlink.transport.address import is_name

from .resolving import Configured

P = ParamSpec("P")
R = TypeVar("R")


def finding(connects: Callable[P, R]) -> Callable[P, R]:
    """A function that is called with an address, and asks where a name is, unless it is told who knows that."""

    @wraps(connects)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given: dict[str, Any] = kwargs
        if is_name(args[0] if args else given.get("address")):
            directory = given.get("directory")
            if directory is None or isinstance(directory, str):
                given["directory"] = Configured(directory, given.get("identity"), given.get("trust"))
        return connects(*args, **kwargs)

    return call


connect = finding(sessions.connect)
reconnecting = finding(links.reconnecting)
