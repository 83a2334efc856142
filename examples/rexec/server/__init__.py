"""The side that runs commands: the service, the processes it has started, what it notes down about them."""

from ..messages import SERVICE
from .service import Handler, service

__all__ = ["SERVICE", "Handler", "service"]
