"""`Interface`: which methods can be called, with what, and what they give; both sides of a call agree upon it."""

import math
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from chanlink.arguments import expect
from chanlink.channels.channel import Sender
from chanlink.errors import CallFailed
from chanlink.session.session import Session

from .client import Client, Way, way_to
from .failures import Failures
from .implementations import check_implementation, is_factory
from .method import Method
from .protocols import methods_of
from .serving import CALLS, CallService

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = TypeVar("P")


class Interface(Generic[P]):
    """The methods of a `typing.Protocol`, which can be called from another process.

    Everything is checked here, once. Each public method of the protocol, and of those that it inherits from, is either
    a call (``async def``, any result) or a stream (``def`` with the result ``AsyncGenerator[item, None]``, which the
    implementation writes as ``async def`` with ``yield``). All parameters and results have types that a message can
    be checked for; ends of channels and byte streams are such types. ``raises`` are subclasses of `CallFailed` with
    codes of their own, which arrive as themselves; the type of their ``detail`` is annotated in the class.

    Raises `InterfaceError` with the method and the parameter, and what to write instead.
    """

    def __init__(self, protocol: "type[P] | TypeForm[P]", raises: Iterable[type[CallFailed]] = ()) -> None:
        expect("raises", raises, Iterable)
        self.methods: Mapping[str, Method] = MappingProxyType(methods_of(protocol))
        """By name. Exactly these can be called."""
        self.failures = Failures(raises)
        self.protocol = protocol
        self._name: str = protocol.__name__  # it is a class: that was checked

    def client(self, target: Session | Sender[Any], service: str | None = None) -> P:
        """An object that has the methods of the protocol, and calls them on the other side.

        ``target`` is a session, with the name of a `service` of its peer, or a sender, alone: whoever receives from it
        serves this interface. The client owns nothing, and can be used as long as that: all clients of a service share
        one channel of the session. Nothing is sent before the first call.

        What a call raises: `CallRefused`, it never began; `CallFailed`, it ran and failed; `CallLost`, nobody knows.
        `MessageTypeError`: its result is not of the type that it should have. And when nothing was sent, so that ends
        in the arguments are still yours: `TypeError` for arguments that the method does not take, `EncodeError`,
        `MessageTooLarge`, `LimitReached`. Raises `TypeError`.
        """
        return self.client_by(way_to(target, service))

    def client_by(self, way: Way) -> P:
        """As `client`, for requests that go another way."""
        return cast(P, Client(self._name, self.methods, self.failures, way))

    def serving(
        self,
        implementation: "P | Callable[[], AbstractAsyncContextManager[P]]",
        *,
        calls: int = CALLS,
        longest: float = math.inf,
    ) -> CallService:
        """A service that carries out calls of the methods of an object, which need not inherit from the protocol.

        Or of one for each client: then an async context manager is given, without its call, whose block is that of the
        client's channel; its task group is where what outlives a call runs. At most ``calls`` methods run at a time for
        one client, and further requests wait in the channel. ``longest`` bounds, in seconds, calls whose caller has no
        deadline; streams have none then.

        Raises `InterfaceError` for an object that lacks a method, or has one that can't be called as the interface
        says; of a context manager that is found when a client comes.
        """
        expect("calls", calls, int)
        expect("longest", longest, int, float)
        made: Callable[[], AbstractAsyncContextManager[Any]]
        if is_factory(implementation, self.methods.values()):
            made = partial(self._made, cast(Callable[[], AbstractAsyncContextManager[P]], implementation))
        else:
            check_implementation(self._name, self.methods.values(), implementation)
            made = partial(nullcontext, implementation)
        return CallService(self.methods, self.failures, made, calls=calls, longest=longest)

    @asynccontextmanager
    async def _made(self, factory: Callable[[], AbstractAsyncContextManager[P]]) -> AsyncGenerator[P, None]:
        async with factory() as implementation:
            check_implementation(self._name, self.methods.values(), implementation)
            yield implementation

    def __repr__(self) -> str:
        return f"Interface({self._name})"
