"""The side that runs commands.

`service` takes a request, has a policy decide on it, and has the guard start the command by way of `starter`. Then
`attending` moves the bytes between the caller and the `streams` of the `process`, until both have ended; a command that
is `detached` has its output kept instead. `audit` writes down each start, end and refusal.
"""

from ..messages import SERVICE
from .service import Handler, service

__all__ = ["SERVICE", "Handler", "service"]
