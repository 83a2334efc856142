"""Clients that a test lets in, each with a key that is made for it."""

from collections.abc import Collection
from types import NoneType

from chanlink import Identity, Trust
from chanlink.arguments import expect
from chanlink.security.keys.trust import Grant


class Guests(Trust):
    """A `Trust` that grows: whom a test has let in. It forgets nobody."""

    __slots__ = ("_identities",)

    def __init__(self) -> None:
        super().__init__({})
        self._identities: dict[str, Identity] = {}

    def let_in(self, name: str, may_use: Collection[str] | None = None) -> Identity:
        """The identity of a client that is called so; the same one each time, with what it may use from now on.

        ``may_use`` names services; None means all of them.
        """
        expect("name", name, str)
        expect("may_use", may_use, Collection, NoneType)
        if isinstance(may_use, str):  # else each of its letters would be a service
            raise TypeError(f"may_use is a collection of names, not one string: [{may_use!r}]")
        identity = self._identities.get(name) or self._identities.setdefault(name, Identity.generate(name))
        services = None if may_use is None else frozenset(may_use)
        self.grants[identity.public_key] = Grant(name, services)
        return identity
