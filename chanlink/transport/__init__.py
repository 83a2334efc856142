"""Bytes to another process and back: addresses, sockets, and the one interface that records want of either.

An address (address.py) stands for places; whichever of them answers first is connected to (dial.py, reaching.py,
racing.py). To listen on one is to listen on all of its places (listen.py), and to take what comes there, whoever floods
us (accepting.py). What a connection gives is a `Transport` (base.py): a byte stream that can also send and receive what
needs no waiting. A socket is one (sockets.py), and knows whether the peer's machine still acknowledges (tcp_info.py);
any other byte stream becomes one behind a small buffer. What the program has made by itself, streams and listeners, is
taken as it comes (given.py).

What else carries bytes is an address, too (carried.py, read by target.py and listening_at.py): a layer over a transport
(layered.py, layered_listening.py), such as WebSocket (websocket_carrier.py, upgrade.py, websocket.py).

Nothing here knows keys, records or sessions, and nothing is read before somebody asks for it: until a peer is
authenticated, it can make us keep nothing but what a layer must have whole, which is bounded.
"""
