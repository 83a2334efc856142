"""Features: what this side understands beyond what the first release knew (protocol section 2.3).

A session uses one only if both sides have listed it in the handshake.
"""

TOP_LEVEL_DRAIN = "top-level-drain"
"""DRAIN concerns top-level streams only, and a session may drain without being closed (protocol section 4.2)."""
TRACE_CONTEXT = "trace-context"
"""The opening of a stream may say to which trace it belongs (protocol section 5)."""
ONE_SERVICE = "one-service"
"""A client may say in the handshake for which service the session is (protocol section 2.7)."""
CREDENTIAL_RENEWAL = "credential-renewal"
"""A side may show a newer credential while the session lasts (protocol section 3.5)."""
FEATURES = frozenset({TOP_LEVEL_DRAIN, TRACE_CONTEXT, ONE_SERVICE, CREDENTIAL_RENEWAL})
"""All that this side has."""
