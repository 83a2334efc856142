"""The attacker on the path, over real sockets: whatever somebody between a client and a server can do.

    async with attacker(server.address) as man:
        async with chanlink.connect(man.address, ...) as session:
            man.connections[0].to_server.double(RECORD + 2)

He has no keys. He sees frames: the hello, each message of the handshake, each record (`frames`), in either direction
(a `Way` of a `Connection`), and may hold, drop, change, double, reorder or delay each of them, put in others, also from
another connection, and cut at any byte, towards one side or both. What he can't do without the keys is what tests of
resuming, early data and gateways look at.
"""
