"""Go-like channels between processes: encrypted, authenticated, multiplexed, on anyio.

A program makes a channel with `pipe`, keeps one end and sends the other away inside a message; the two programs
then talk over it as two goroutines would. See the README for a tour, and docs/reference/protocol.md for the wire.
"""

from chanlink.channels.bytestream import ByteStream, byte_pipe
from chanlink.channels.cases import Selected
from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.channels.selector import Selector, select, select_nowait
from chanlink.patterns.inspection import Inspection
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Trust
from chanlink.session.connecting import connect
from chanlink.session.listening import Listener, listen, serve
from chanlink.session.peer import Incoming, Peer
from chanlink.session.services import streams
from chanlink.session.session import Session

from .errors import (
    AddressError,
    AgentError,
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
    KeyFormatError,
    LimitReached,
    LocalProtocolError,
    MessageError,
    MessageTooLarge,
    MessageTypeError,
    PeerTimeout,
    RemoteProtocolError,
    SessionClosed,
    SessionError,
    SessionLost,
    TrustFormatError,
    UntrustedPeer,
    WrongPeer,
)
from .limits import Limits
from .printing import PrintableLog, printable

__all__ = [
    "AddressError",
    "AgentError",
    "ByteStream",
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
    "DecodeError",
    "EncodeError",
    "EndOfChannel",
    "HandshakeError",
    "HandshakeTimeout",
    "Identity",
    "Incoming",
    "Inspection",
    "KeyFormatError",
    "KnownPeers",
    "LimitReached",
    "Limits",
    "Listener",
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
    "Session",
    "SessionClosed",
    "SessionError",
    "SessionLost",
    "Trust",
    "TrustFormatError",
    "UntrustedPeer",
    "WrongPeer",
    "byte_pipe",
    "connect",
    "listen",
    "pipe",
    "printable",
    "select",
    "select_nowait",
    "serve",
    "streams",
]
