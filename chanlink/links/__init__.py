"""Sessions with one server, one after the other: what goes on when a connection breaks, or a server is restarted.

    reconnecting    the block that keeps a link, and its parameters
    link            `Link`: what a program holds; the session that there is now, and the wait for the next one
    keeping         the task that makes sessions, and the pauses between them
    way             how calls of a client find the session that there is

What a link promises is little: it makes sessions. What was under way on one that is lost is lost with it, and says so.
"""
