"""Sessions that outlive their connections (protocol section 3.7).

What the two sides have agreed on is an `Agreement` (agreement.py), made in the first handshake of a session. On each
later connection both prove that they are the ones who had it (proofs.py).

A `ResumableStream` (resumable.py) is the stream of a session over one connection after the other. What was sent and
what has arrived is counted in a `Ledger` (ledger.py), which keeps what may have to be sent again; a `Silence`
(silence.py) says when a connection that says nothing has to be given up. Both do no I/O, and have no clock.
"""
