"""The Noise Protocol Framework, revision 34: handshakes and cipher states, without I/O.

A handshake is a pattern (patterns.py, data alone), walked through by a `HandshakeState` (state.py), which mixes what
the Diffie-Hellman of two keys gives (x25519.py) into the keys of a cipher (cipher.py). It ends in two `CipherState`
objects, one for each direction. Nothing here knows sockets, time or identities; `chanlink.security.handshake` puts
them together.

Errors: `HandshakeError` for whatever is wrong with a handshake message, `RemoteProtocolError` for a later message
that is not the peer's next one, `LocalProtocolError` for a call out of turn or with wrong arguments.
"""
