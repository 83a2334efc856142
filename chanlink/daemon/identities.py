"""What the daemon authenticates itself with: as the host, and as each of its users."""

from chanlink.errors import ConfigError
from chanlink.printing import printable_logger
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.threads import run_apart
from chanlink.security.statics import Statics

from .accounts import user_of
from .folder import Folder

logger = printable_logger(__name__)

MOST = 1_000
"""Users whose static keys are kept; the one that was used longest ago is forgotten first."""


class Identities:
    """The static keys of users, each certified by the user's identity, as long as that is the same."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: dict[str, tuple[object, Statics]] = {}

    async def of(self, uid: int) -> tuple[str, Statics | None]:
        """The name of a user, and what it is authenticated with; None if the daemon has no identity for it.

        Raises `ConfigError`.
        """
        user, state = await run_apart(self._look, uid)
        kept = self._kept.pop(user, None)
        if kept is not None and kept[0] == state:
            self._kept[user] = kept
            return user, kept[1]
        identity = await run_apart(self._folder.user, user)
        if identity is None:
            return user, None
        statics = Statics(identity, Role.CLIENT)
        self._kept[user] = state, statics
        if len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return user, statics

    def _look(self, uid: int) -> tuple[str, object]:
        """Both in one visit to a thread, which costs more than either."""
        user = user_of(uid)
        return user, self._folder.state_of(user)

    async def name(self, uid: int) -> str:
        """What a user is called, if it has a name that can be used, and else its number."""
        try:
            return await run_apart(user_of, uid)
        except ConfigError:
            return str(uid)
