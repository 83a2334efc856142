"""From a connection to an authenticated peer, and from bytes to records and back (protocol sections 1 to 3).

Each process has a static key and a certificate for it, signed by its identity (statics.py). Both sides of a handshake
(handshake.py) show theirs, in maps that are read entry by entry (payloads.py); a pre-shared key comes first where there
is one (psk.py), and a listener decides whom it listens to at all (admission.py). What remains is a `NoiseStream`
(noise_stream.py): it sends and receives records (records.py), sealed by one of the suites (suites.py) under keys that
are renewed while data flows on (rekey.py), in buffers that all connections share (buffers.py).

A session sees none of that, but a `SecureStream` (stream.py): the seam that anything else between the two has to keep
to, and a plain byte stream as well.

Who we are, and whom we trust, is the business of the room `keys`; the Noise framework alone is the room `noise`.
Neither imports anything of this one. What does no I/O (admission, payloads, psk, records, rekey) has neither clock nor
`async`: the time is an argument.
"""
