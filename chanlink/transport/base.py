"""What lies below records: a byte stream to another process."""

import anyio

BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What a byte stream raises when the connection is gone, on either side."""
