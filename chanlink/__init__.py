"""Go-like channels between processes: encrypted, authenticated, multiplexed, on anyio.

A program makes a channel with `pipe`, keeps one end and sends the other away inside a message; the two programs
then talk over it as two goroutines would. See the README for a tour, and docs/reference/protocol.md for the wire.
"""

from .bytestream import ByteStream, byte_pipe
from .cases import Selected
from .channel import Receiver, Sender, pipe
from .endpoint import Listener, connect, listen, serve
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
from .identity import Identity
from .inspection import Inspection
from .known_peers import KnownPeers
from .limits import Limits
from .openssh import PublicKey
from .printing import PrintableLog, printable
from .selector import Selector, select, select_nowait
from .services import Incoming, Peer, streams
from .session import Session
from .trust import Trust

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
