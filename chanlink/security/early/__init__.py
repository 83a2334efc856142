"""Early data: what lets a client send its first data in the first message (protocol section 2.4).

A prekey (prekey.py) is a static key of a server with a short life. The server's are in prekeys.py, with the ephemeral
keys of the messages that it has taken under each: nothing there does I/O or has a clock. A client keeps those that it
has got in known_prekeys.py, in memory or in a file.

The handshakes themselves are beside this room: `early_server` and `early_stream`.
"""
