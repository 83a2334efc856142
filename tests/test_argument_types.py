"""Arguments of wrong types, at all that is public: a `TypeError` that names the argument, before anything is done.

What is public is found by looking. A function, method or parameter that is new needs a row in `WRONG`, with values of
types that it does not take, or in `ANYTHING`, with the reason why it takes any.
"""

import inspect
import io
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, Protocol, get_origin

import anyio
import pytest

import chanlink
from chanlink.security.keys.presented import Presented
from chanlink.testing import session_pair
from tests.patience import PATIENCE
from tests.security.wires import wires

pytestmark = pytest.mark.anyio

IDENTITY = chanlink.Identity.generate()
KEY = IDENTITY.public_key
TRUST = chanlink.Trust.nobody()
ADDRESS = "tcp://127.0.0.1:0"
TEXTS, NUMBERS, PATHS, FLAGS, TYPES = (5, b"x", None), ("3", 2.5), (5, []), ("no", None), (5, [])


class Adds(Protocol):
    async def add(self, a: int, b: int) -> int: ...


async def service(receiver: chanlink.Receiver[Any], peer: chanlink.Peer) -> None: ...


OURS = {
    "identity": (5, KEY),
    "services": (5, ["echo"], {5: service}, {"x": "y"}),
    "limits": ({}, 5),
    "psk": (5, []),
    "security": ("tls", 5, True),
} | {
    "instruments": (5, None, ["x"], [chanlink.Inspection()]),
}
Rows = dict[str, dict[str, tuple[Any, ...]]]
WRONG: Rows = {
    "Advertised": {"service": TEXTS, "folder": PATHS},
    "ByteStream.fail": {"code": TEXTS, "text": TEXTS},
    "ByteStream.receive": {"max_bytes": (*NUMBERS, None)},
    "ByteStream.refuse": {"code": TEXTS, "reason": TEXTS},
    "ByteStream.send": {"item": ("x", 5, None, [1])},
    "Host.find": {"name": TEXTS, "path": PATHS},
    "Host.load_all": {"path": PATHS},
    "Host.load_each": {"path": PATHS},
    "Identity": {"public_key": (IDENTITY, None, "x"), "signer": (None, b"x")},
    "Identity.aload": {"path": PATHS, "passphrase": (5, ["x"])},
    "Identity.credential": {"type": ("1", None)},
    "Identity.from_agent": {"public_key": (IDENTITY, "x"), "socket": PATHS},
    "Identity.generate": {"comment": TEXTS},
    "Identity.load": {"path": PATHS, "passphrase": (5, ["x"])},
    "Identity.save": {"path": PATHS},
    "Identity.showing": {"path": PATHS},
    "Identity.sign": {"data": ("x", 5, None)},
    "Inspection.watch": {"source": (None, "x", TRUST)},
    "Interface": {"protocol": (5, "x", int), "raises": (5, [ValueError], [5])},
    "Interface.client": {"target": (None, "x", 5), "service": (5, b"x")},
    "Interface.serving": {"implementation": (5, None), "calls": NUMBERS, "longest": ("x", None)},
    "KnownPeers.add": {"address": (5, None, b"tcp://x:1"), "key": (IDENTITY, "x")},
    "KnownPeers.find": {"address": (5, None, b"tcp://x:1"), "key": (IDENTITY, "x")},
    "KnownPeers.load": {"path": PATHS, "first_use": ("no", None)},
    "KnownPrekeys": {"path": PATHS},
    "Link.client": {"interface": (None, Adds), "service": TEXTS},
    "Exec": {"argv": ("ls -l", [1], 5), "cwd": (5, [])},
    "Ssh": {"host": TEXTS, "user": (5, b"x"), "port": ("22", 2.5), "options": ("-v", [1]), "command": ("ls", [1])},
    "WebSocket": {"url": TEXTS, "ssl": (5, "x"), "headers": (5, "x")},
    "WebSocketListener": {"url": TEXTS, "ssl": (5, "x"), "forwarded": FLAGS},
    "Tls": {"host": TEXTS, "port": ("3", 2.5, None), "ssl_context": (5, "x")},
    "TlsListener": {"address": TEXTS, "ssl_context": (5, None)},
    "Local": {"host": TEXTS, "service": TEXTS, "folder": PATHS},
    "Link.open": {"service": TEXTS},
    "Link.open_stream": {"service": TEXTS},
    "Listener.drain": {"seconds": ("x", None)},
    "Listener.serve": {"handler": (None, "x"), "task_group": ("x", 5)},
    "PublicKey": {"comment": TEXTS},
    "PublicKey.from_blob": {"blob": ("x", 5), "comment": TEXTS},
    "PublicKey.load": {"path": PATHS},
    "PublicKey.parse": {"text": TEXTS},
    "PublicKey.verify": {"data": ("x", 5), "signature": ("x", 5)},
    "Receiver.close": {"reason": TEXTS},
    "Receiver.receive_many": {"limit": (*NUMBERS, None)},
    "Receiver.refuse": {"code": TEXTS, "reason": TEXTS},
    "Receiver.typed": {"item_type": TYPES, "contract": (5, b"x")},
    "Receiver.valid": {"on_bad": (None, "x")},
    "Selector.add": {"case": (None, "x", [])},
    "Selector.remove": {"index": (*NUMBERS, None)},
    "Sender.fail": {"code": TEXTS, "text": TEXTS},
    "Sender.typed": {"item_type": TYPES, "check": FLAGS, "contract": (5, b"x")},
    "Session.exporter": {"label": TEXTS, "length": NUMBERS},
    "Session.open": {
        "service": TEXTS,
        "item_type": TYPES,
        "capacity": NUMBERS,
        "check": FLAGS,
        "contract": (5, b"x"),
    },
    "Session.open_stream": {"service": TEXTS},
    "Trust.admit": {"presented": (None, "x", IDENTITY), "now": ("x", None), "revocations": ("x", {})},
    "Trust.anyone": {"services": (5, None, [5])},
    "Trust.check": {"key": (None, "x", IDENTITY)},
    "Trust.load": {"path": PATHS},
    "Trust.of": {"keys": ("x", IDENTITY)},
    "Credential.load": {"path": PATHS},
    "Credential.parse": {"blob": ("x", 5)},
    "Credential.parse_line": {"text": TEXTS},
    "Behind": {"hop": (5, None, KEY), "name": (5, None)},
    "Hop": {"addresses": (5, None, b"tcp://x"), "peer": ("x", IDENTITY), "identity": (5, "x")},
    "accept": {**OURS, "stream": (5, None, "tcp://x"), "trust": ("x", None), "revoked": (5, [])},
    "byte_pipe": {"size": NUMBERS},
    "call_context": {"context": (5, "x", {"x": 5}, {5: "x"})},
    "cancel_when_over": {"end": (None, "x")},
    "connect": {
        "proxy": (5, b"socks5://x"),
        **OURS,
        "address": (5, None, b"tcp://x"),
        "peer": ("x", IDENTITY),
        "trust": ("x", {}),
        "timeout": ("x", None),
        "wait": ("x", None),
        "eager": ("x", None),
        "early": ("x", None),
        "known_prekeys": (5, []),
        "resume": ("x", None),
        "directory": (5, {}),
        "trust_directory": ("x", None),
        "service": (5, None, b"x"),
        "via": (5, None, "tcp://x", [5]),
    },
    "encode": {"item_type": TYPES},
    "finishes": {"longest": ("x", None)},
    "idempotent": {"method": (5, "x")},
    "listen": {**OURS, "address": (5, None, b"tcp://x"), "trust": ("x", None), "revoked": (5, []), "shared": FLAGS},
    "pipe": {"capacity": NUMBERS, "item_type": TYPES, "check": FLAGS, "contract": (5, b"x")},
    "printable": {"text": TEXTS},
    "reconnecting": {
        "proxy": (5, b"socks5://x"),
        **OURS,
        "address": (5, None, b"tcp://x"),
        "setup": (5, "x"),
        "directory": (5, {}),
        "trust_directory": ("x", None),
        "service": (5, None, b"x"),
        "via": (5, None, "tcp://x", [5]),
        "peer": ("x", IDENTITY),
        "trust": ("x", {}),
        "timeout": ("x", None),
        "resume": ("x", None),
    },
    "select": {"cases": ("x", None)},
    "select_nowait": {"cases": ("x", None)},
    "serve": {
        **OURS,
        "address": (5, None, b"tcp://x"),
        "trust": ("x", None),
        "revoked": (5, []),
        "drain": ("x", None),
        "shared": FLAGS,
        "register": (5, "web1"),
        "signals": (5, None, ["x"]),
    },
    "service": {"handler": (None, "x"), "early": FLAGS, "enforces": (None, 5, "force-command", [5])},
    "streams": {"handler": (None, "x")},
    "take_stdio": {"token": TEXTS, "key": TEXTS},
    "wrap": {"source": (None, "x", b"x", 5), "size": ("3", 2.5)},
}
"""By function and parameter."""
MADE_BY_US = "it is not made by programs"
ONCE = "`Session.open` says it, once there is a session"
HOLDS = "a record: what is in it is what was given"
ANYTHING: dict[str, str] = {
    "Behind.listening": "`listen` calls it",
    "ByteStream": MADE_BY_US,
    "Credential": HOLDS,
    "Credential.allows_address": "it is for who decides by it",
    "Credential.holds": "it is for who decides by it",
    "Encoded": MADE_BY_US,
    "Incoming": HOLDS,
    "KnownPeers": MADE_BY_US,
    "Limits": "a `ConfigError` names what can't be (tests/test_limits.py)",
    "Host": HOLDS,
    "Issued": HOLDS,
    "Interface.client_by": "it is for links",
    "Link": MADE_BY_US,
    "Link.open(capacity)": ONCE,
    "Link.open(check)": ONCE,
    "Link.open(item_type)": ONCE,
    "Link.ready": "it is for the keeper of the link",
    "Link.without": "it is for the keeper of the link",
    "Listener": MADE_BY_US,
    "Peer": HOLDS,
    "PrintableLog": "it is logging's",
    "PrintableLog.filter": "it is logging's",
    "PublicKey(raw)": "a `KeyFormatError` says what a key is",
    "Receiver": MADE_BY_US,
    "Selected": HOLDS,
    "Sender": MADE_BY_US,
    "Sender.send": "an `EncodeError` says where in the message stands what can't be sent",
    "Sender.send_nowait": "an `EncodeError` says where in the message stands what can't be sent",
    "Sender.sending": "an `EncodeError` says where in the message stands what can't be sent",
    "Session": "chanlink.testing makes them for tests, by what it checks",
    "Exec(env)": "it is the system's",
    "Exec.connect_with": "it is for `connect`",
    "Ssh.connect_with": "it is for `connect`",
    "Ssh.parse": "it is as the constructor, for texts that are addresses",
    "Ssh.words": "it is for `connect`",
    "Tls.connect_with": "it is for `connect`",
    "TlsListener.listening": "it is for `listen`",
    "WebSocket.connect_with": "it is for `connect`",
    "WebSocketListener.listening": "it is for `listen`",
    "Trust": MADE_BY_US,
    "encode(value)": "an `EncodeError` says where in the message stands what can't be sent",
    "serve(task_status)": "it is anyio's",
}


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """What programs can call, but for errors, which hold what they are given."""
    for name in module.__all__:
        thing = getattr(module, name)
        if not inspect.isclass(thing):
            if callable(thing) and get_origin(thing) is None:  # else it is a type, for annotations
                yield name, thing
        elif not issubclass(thing, BaseException):
            yield name, thing
            for method, _ in inspect.getmembers_static(thing, inspect.isroutine):
                function = inspect.unwrap(getattr(thing, method))
                if not method.startswith("_") and (getattr(function, "__module__", None) or "").startswith("chanlink."):
                    yield f"{name}.{method}", function


def parameters(module: Any) -> set[str]:
    """As ``function(parameter)``."""
    found = set()
    for name, function in public(module):
        for parameter in inspect.signature(function).parameters:
            if parameter != "self":
                found.add(f"{name}({parameter})")
    return found


def check_rows(module: Any, wrong: Rows, anything: dict[str, str]) -> None:
    """Nothing public is without a row, and there is no row of what is not there."""
    rows = {f"{name}({parameter})" for name, row in wrong.items() for parameter in row}
    found = {one for one in parameters(module) if not {one, one.partition("(")[0]} & set(anything)}
    assert found == rows
    assert {one for one in anything if "(" in one} <= parameters(module)
    assert {one for one in anything if "(" not in one} <= {name for name, _ in public(module)}


def test_every_parameter_of_whatever_is_public_has_a_row() -> None:
    check_rows(chanlink, WRONG, ANYTHING)


class Here(SimpleNamespace):
    """One of each, to call methods of."""

    async def __aenter__(self) -> "Here":
        self.stack = AsyncExitStack()
        self.session, self.other = await self.stack.enter_async_context(session_pair())
        self.sender, self.receiver = chanlink.pipe()
        self.stream, self.far = chanlink.byte_pipe()
        self.selector, self.inspection = chanlink.Selector(), chanlink.Inspection()
        self.interface = chanlink.Interface(Adds)
        link = chanlink.reconnecting("tcp://127.0.0.1:1", identity=IDENTITY, peer=KEY)
        self.link = await self.stack.enter_async_context(link)
        self.listener = await self.stack.enter_async_context(
            chanlink.listen("tcp://127.0.0.1:0", identity=IDENTITY, trust=TRUST)
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        for end in (self.sender, self.receiver, self.stream, self.far):
            end.close()
        await self.stack.aclose()


class Adder:
    async def add(self, a: int, b: int) -> int:
        return a + b


OWNERS = {
    "ByteStream": "stream",
    "Inspection": "inspection",
    "Interface": "interface",
    "Link": "link",
    "Listener": "listener",
    "Receiver": "receiver",
    "Selector": "selector",
    "Sender": "sender",
    "Session": "session",
}
OTHERS: dict[str, dict[str, Any]] = {
    "Advertised": {"service": "x"},
    "ByteStream.fail": {"code": "x"},
    "Exec": {"argv": ["true"]},
    "Ssh": {"host": "x"},
    "WebSocket": {"url": "wss://x/"},
    "WebSocketListener": {"url": "ws://127.0.0.1:0/"},
    "Tls": {"host": "x"},
    "TlsListener": {"address": "tls://127.0.0.1:0", "ssl_context": ssl.create_default_context()},
    "Local": {"host": "x", "service": "x"},
    "Host.find": {"name": "a-name"},
    "Identity": {"public_key": KEY, "signer": IDENTITY.sign},
    "Identity.aload": {"path": "/none"},
    "Identity.load": {"path": "/none"},
    "Interface": {"protocol": Adds},
    "Interface.serving": {"implementation": Adder()},
    "KnownPeers.add": {"address": ADDRESS, "key": KEY},
    "KnownPeers.find": {"address": ADDRESS, "key": KEY},
    "Link.client": {"interface": chanlink.Interface(Adds), "service": "x"},
    "Listener.serve": {"handler": service},
    "PublicKey": {"raw": KEY.raw},
    "PublicKey.from_blob": {"blob": KEY.blob},
    "PublicKey.verify": {"data": b"x", "signature": b"x"},
    "Receiver.refuse": {"code": "x"},
    "Receiver.typed": {"item_type": int},
    "Sender.fail": {"code": "x"},
    "Sender.typed": {"item_type": int},
    "Session.exporter": {"label": "x", "length": 32},
    "Session.open": {"service": "x"},
    "Trust.admit": {"presented": Presented(KEY), "now": 0},
    "accept": {"stream": wires()[0], "identity": IDENTITY, "trust": TRUST},
    "encode": {"value": 1},
    "wrap": {"source": io.BytesIO()},
    "Behind": {"hop": "tcp://127.0.0.1:1", "name": "build"},
    "Hop": {"addresses": ["tcp://127.0.0.1:1"]},
    "connect": {"address": "tcp://127.0.0.1:1", "identity": IDENTITY, "peer": KEY},
    "listen": {"address": "tcp://127.0.0.1:0", "identity": IDENTITY, "trust": TRUST},
    "reconnecting": {"address": "tcp://127.0.0.1:1", "identity": IDENTITY, "peer": KEY},
    "service": {"handler": service},
    "serve": {"services": {}, "address": "tcp://127.0.0.1:0", "identity": IDENTITY, "trust": TRUST},
}
"""What else has to be given."""
NAMES = {
    "addresses": "address",
    "cases": "case 0",
    "implementation": "Adds: ",
    "item_type": "type of a message",
    "keys": "key",
    "protocol": "typing.Protocol",
    "target": "a client calls a service of a session, or by a sender",
}
"""How these parameters are named."""


async def call(here: Here, name: str, parameter: str, value: Any) -> None:
    owner, _, method = name.partition(".")
    function = getattr(chanlink, name) if not method else None
    if owner in OWNERS and method:
        function = getattr(getattr(here, OWNERS[owner]), method)
    elif method:
        of = {
            "Credential": chanlink.Credential,
            "Host": chanlink.Host,
            "Identity": IDENTITY,
            "KnownPeers": chanlink.KnownPeers.load("/none"),
            "PublicKey": KEY,
            "Trust": TRUST,
        }
        function = getattr(of[owner], method)
    assert function is not None
    if parameter in ("addresses", "cases", "keys"):
        result = function(value)
    else:
        given = {**OTHERS.get(name, {}), parameter: value}
        if parameter == "trust" and name == "connect":
            del given["peer"]
        if name == "Interface.client":
            given = {"target": here.session, "service": "x", parameter: value}
        result = function(*given.pop("addresses", ()), **given)
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__enter__"):
        with result:
            pass
    if hasattr(result, "__aenter__"):
        async with result:
            pass


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_of_another_type_is_an_error_that_names_the_argument(name: str) -> None:
    async with Here() as here:
        for parameter, values in WRONG[name].items():
            for value in values:
                with anyio.fail_after(PATIENCE), pytest.raises(TypeError) as caught:
                    await call(here, name, parameter, value)
                words = str(caught.value)
                assert NAMES.get(parameter, parameter) in words, f"{name}({parameter}={value!r}): {words}"
        assert here.sender.send_nowait("all is as before") is None
        assert await here.receiver.receive() == "all is as before"
        assert not here.session.closed
