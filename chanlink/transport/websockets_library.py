"""The half of ``websockets`` without I/O, which is an extra: a `ConfigError` where it is not installed."""

from chanlink.errors import ConfigError
from chanlink.printing import printable_logger

try:
    from websockets.client import ClientProtocol
    from websockets.frames import CloseCode, Frame, Opcode
    from websockets.http11 import Request
    from websockets.protocol import OPEN, Protocol
    from websockets.server import ServerProtocol
    from websockets.typing import Subprotocol
    from websockets.uri import WebSocketURI
except ImportError:
    raise ConfigError("ws:// and wss:// need more: pip install 'chanlink[ws]'") from None

__all__ = [
    "OPEN",
    "ClientProtocol",
    "CloseCode",
    "Frame",
    "Opcode",
    "Protocol",
    "Request",
    "ServerProtocol",
    "Subprotocol",
    "WebSocketURI",
    "say_if_slow",
]

logger = printable_logger(__name__)


def say_if_slow() -> None:
    """Warn if the part in C is missing."""
    try:
        import websockets.speedups as _  # noqa: F401
    except ImportError:
        logger.warning("websockets has no part in C here: what goes towards servers is masked by Python, and slow")
