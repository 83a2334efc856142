"""Go-like channels between processes: encrypted, authenticated, multiplexed, on anyio.

A program makes a channel with `pipe`, keeps one end and sends the other away inside a message; the two programs
then talk over it as two goroutines would. See the README for a tour, and docs/reference/protocol.md for the wire.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chanlink.calls.context import call_context, current_call
    from chanlink.calls.interface import Interface
    from chanlink.calls.marks import finishes, idempotent
    from chanlink.channels.bytestream import ByteStream, byte_pipe
    from chanlink.channels.cases import Selected
    from chanlink.channels.channel import Receiver, Sender, pipe
    from chanlink.channels.encoded import Encoded
    from chanlink.channels.over import cancel_when_over
    from chanlink.channels.selector import Selector, select, select_nowait
    from chanlink.gateways.behind import Behind
    from chanlink.handover.local import Advertised, Local
    from chanlink.links.link import Link
    from chanlink.naming.finding import connect, reconnecting
    from chanlink.observing.inspection import Inspection
    from chanlink.security.early.known_prekeys import KnownPrekeys
    from chanlink.security.keys.credential import Credential
    from chanlink.security.keys.hosts import Host
    from chanlink.security.keys.identity import Identity
    from chanlink.security.keys.known_peers import KnownPeers
    from chanlink.security.keys.openssh import PublicKey
    from chanlink.security.keys.trust import Issued, Trust
    from chanlink.security.tls.nacl_tls import nacl_tls
    from chanlink.session.accepting import accept
    from chanlink.session.ends.encoding import encode
    from chanlink.session.ends.foreign import wrap
    from chanlink.session.hops import Hop
    from chanlink.session.listening import Listener, listen, serve
    from chanlink.session.peer import Incoming, Peer
    from chanlink.session.services import Services, service, streams
    from chanlink.session.session import Session, current_session
    from chanlink.transport.exec import Exec
    from chanlink.transport.own_stdio import take_stdio
    from chanlink.transport.ssh import Ssh
    from chanlink.transport.tls_address import Tls, TlsListener
    from chanlink.transport.websocket_carrier import WebSocket, WebSocketListener

    from .errors import (
        AddressError,
        AgentError,
        CallError,
        CallFailed,
        CallLost,
        CallRefused,
        ChanlinkError,
        ChannelBroken,
        ChannelClosed,
        ChannelError,
        ChannelFailed,
        ChannelMoved,
        ChannelRefused,
        ConfigError,
        ConnectFailed,
        ConnectionLost,
        DecodeError,
        EncodeError,
        EndOfChannel,
        HandshakeError,
        HandshakeTimeout,
        HopFailed,
        InterfaceError,
        JobError,
        JobFailed,
        JobLost,
        JobRefused,
        KeyFormatError,
        Lagged,
        LimitReached,
        LocalProtocolError,
        MessageError,
        MessageTooLarge,
        MessageTypeError,
        PeerTimeout,
        RemoteProtocolError,
        ServerTooOld,
        SessionClosed,
        SessionError,
        SessionLost,
        StoreError,
        TrustFormatError,
        UntrustedPeer,
        WrongPeer,
    )
    from .limits import Limits
    from .printing import PrintableLog, printable

__version__ = "0.2.0.dev0"
"""That of the package; hatch and ``chanlink --version`` read it here."""

__all__ = [
    "AddressError",
    "Advertised",
    "AgentError",
    "Behind",
    "ByteStream",
    "CallError",
    "CallFailed",
    "CallLost",
    "CallRefused",
    "ChanlinkError",
    "ChannelBroken",
    "ChannelClosed",
    "ChannelError",
    "ChannelFailed",
    "ChannelMoved",
    "ChannelRefused",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "Credential",
    "DecodeError",
    "EncodeError",
    "Encoded",
    "EndOfChannel",
    "Exec",
    "HandshakeError",
    "HandshakeTimeout",
    "Hop",
    "HopFailed",
    "Host",
    "Identity",
    "Incoming",
    "Inspection",
    "Interface",
    "InterfaceError",
    "Issued",
    "JobError",
    "JobFailed",
    "JobLost",
    "JobRefused",
    "KeyFormatError",
    "KnownPeers",
    "KnownPrekeys",
    "Lagged",
    "LimitReached",
    "Limits",
    "Link",
    "Listener",
    "Local",
    "LocalProtocolError",
    "MessageError",
    "MessageTooLarge",
    "MessageTypeError",
    "Peer",
    "PeerTimeout",
    "PrintableLog",
    "PublicKey",
    "Receiver",
    "RemoteProtocolError",
    "Selected",
    "Selector",
    "Sender",
    "ServerTooOld",
    "Services",
    "Session",
    "SessionClosed",
    "SessionError",
    "SessionLost",
    "Ssh",
    "StoreError",
    "Tls",
    "TlsListener",
    "Trust",
    "TrustFormatError",
    "UntrustedPeer",
    "WebSocket",
    "WebSocketListener",
    "WrongPeer",
    "__version__",
    "accept",
    "byte_pipe",
    "call_context",
    "cancel_when_over",
    "connect",
    "current_call",
    "current_session",
    "encode",
    "finishes",
    "idempotent",
    "listen",
    "nacl_tls",
    "pipe",
    "printable",
    "reconnecting",
    "select",
    "select_nowait",
    "serve",
    "service",
    "streams",
    "take_stdio",
    "wrap",
]

_HOMES = {
    "AddressError": "errors",
    "Advertised": "handover.local",
    "AgentError": "errors",
    "Behind": "gateways.behind",
    "ByteStream": "channels.bytestream",
    "CallError": "errors",
    "CallFailed": "errors",
    "CallLost": "errors",
    "CallRefused": "errors",
    "ChanlinkError": "errors",
    "ChannelBroken": "errors",
    "ChannelClosed": "errors",
    "ChannelError": "errors",
    "ChannelFailed": "errors",
    "ChannelMoved": "errors",
    "ChannelRefused": "errors",
    "ConfigError": "errors",
    "ConnectFailed": "errors",
    "ConnectionLost": "errors",
    "Credential": "security.keys.credential",
    "DecodeError": "errors",
    "EncodeError": "errors",
    "Encoded": "channels.encoded",
    "EndOfChannel": "errors",
    "Exec": "transport.exec",
    "HandshakeError": "errors",
    "HandshakeTimeout": "errors",
    "Hop": "session.hops",
    "HopFailed": "errors",
    "Host": "security.keys.hosts",
    "Identity": "security.keys.identity",
    "Incoming": "session.peer",
    "Inspection": "observing.inspection",
    "Interface": "calls.interface",
    "InterfaceError": "errors",
    "Issued": "security.keys.trust",
    "JobError": "errors",
    "JobFailed": "errors",
    "JobLost": "errors",
    "JobRefused": "errors",
    "KeyFormatError": "errors",
    "KnownPeers": "security.keys.known_peers",
    "KnownPrekeys": "security.early.known_prekeys",
    "Lagged": "errors",
    "LimitReached": "errors",
    "Limits": "limits",
    "Link": "links.link",
    "Listener": "session.listening",
    "Local": "handover.local",
    "LocalProtocolError": "errors",
    "MessageError": "errors",
    "MessageTooLarge": "errors",
    "MessageTypeError": "errors",
    "Peer": "session.peer",
    "PeerTimeout": "errors",
    "PrintableLog": "printing",
    "PublicKey": "security.keys.openssh",
    "Receiver": "channels.channel",
    "RemoteProtocolError": "errors",
    "Selected": "channels.cases",
    "Selector": "channels.selector",
    "Sender": "channels.channel",
    "ServerTooOld": "errors",
    "Services": "session.services",
    "Session": "session.session",
    "SessionClosed": "errors",
    "SessionError": "errors",
    "SessionLost": "errors",
    "Ssh": "transport.ssh",
    "StoreError": "errors",
    "Tls": "transport.tls_address",
    "TlsListener": "transport.tls_address",
    "Trust": "security.keys.trust",
    "TrustFormatError": "errors",
    "UntrustedPeer": "errors",
    "WebSocket": "transport.websocket_carrier",
    "WebSocketListener": "transport.websocket_carrier",
    "WrongPeer": "errors",
    "accept": "session.accepting",
    "byte_pipe": "channels.bytestream",
    "call_context": "calls.context",
    "cancel_when_over": "channels.over",
    "connect": "naming.finding",
    "current_call": "calls.context",
    "current_session": "session.session",
    "encode": "session.ends.encoding",
    "finishes": "calls.marks",
    "idempotent": "calls.marks",
    "listen": "session.listening",
    "nacl_tls": "security.tls.nacl_tls",
    "pipe": "channels.channel",
    "printable": "printing",
    "reconnecting": "naming.finding",
    "select": "channels.selector",
    "select_nowait": "channels.selector",
    "serve": "session.listening",
    "service": "session.services",
    "streams": "session.services",
    "take_stdio": "transport.own_stdio",
    "wrap": "session.ends.foreign",
}
"""Which module defines a name: the same as above, where type checkers read it."""
_ROOMS = ("blocking", "calls", "directory", "errors", "observing", "patterns", "testing")
"""What can also be reached as an attribute, without an import of its own."""

if not TYPE_CHECKING:  # to whom each name would be one of ours

    def __getattr__(name: str) -> object:
        """A name is loaded, with what it needs, when it is asked for first: a program pays for what it uses."""
        from importlib import import_module

        if name in _ROOMS:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
