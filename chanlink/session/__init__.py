"""From an address to channels: `connect`, `accept`, `listen`, and the session, which joins channels, wire and security.

The only room that knows those three. From the outside to the inside:

    connecting      `connect`: an address, a handshake, a session
    accepting       `accept`: the server over one byte stream
    listening       `Listener`, `listen`, `serve`: the sessions of those who come
    greeter         what every connection of a listener is met with: who gets a session, and who is sent away
    coming_back     a client whose connection broke, on the way back to its session
    returns         clients that come back to a listener; register: who is away, and who is let back. No I/O
    session         `Session`: opening and accepting channels, and what its users see of it
    driver          what keeps it going: bytes of any multiplexer over any `SecureStream`, until it is over
    liveness        is the peer there? No I/O, no clock
    services, peer  the functions that take what a peer opens; the peer, and what nobody has accepted yet
    snapshot        what a session is doing just now
    ends            ends that are in two processes: a room of its own

A session belongs to a block. All its tasks are of that block, and none outlives it; its death never cancels the block,
but is reported by everything that is called afterwards. The first cause of the end stays, and both sides are told it.
"""
