"""Streams and messages inside the records: HTTP/2 frames, credit, encoding. No I/O, no clock, no tasks.

Bytes are given to it and taken from it; so all of it can be tested without a socket, byte by byte. From the outside to
the inside:

    multiplexer     what a session asks of it, and what it tells the session
    mux             `Mux`: all streams over one HTTP/2 connection; makes frames, and brings those that arrive to streams
    stream          `Stream`: its two halves, and how each of them ends; nobody else says that something is over
    outgoing        what goes out on a stream: a queue, within the peer's credit
    incoming        what comes in on a stream: an inbox with messages in it; `inbox` keeps the bytes
    credit          how much may come: a window for each stream, and one budget for all
    nested          streams that were opened for a message that has not mentioned them yet
    opening         what a stream is opened for, and the words that it ends with
    h2              frames: a room of its own, and the only one that knows the library h2
    messages        values to bytes and back: a room of its own

A peer may send anything. What it makes us keep has a bound, by name, in `Limits`; what breaks a rule ends the session
with words that say which rule, and a channel alone where only that is harmed.
"""
