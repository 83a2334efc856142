"""Gateways: what leads from one session to another place, and servers that are reached by them alone.

A client that goes through gateways needs nothing of this: its way is `session/route.py`. Here is the gateway itself
(`serving.py`), and the listener that has offered itself there (`behind.py`). Between the two stands section 19.2 of the
protocol.
"""

from .serving import Gateway

__all__ = ["Gateway"]
