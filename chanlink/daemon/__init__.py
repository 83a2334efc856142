"""The daemon: it has the keys, so that applications have none (protocol section 16).

It authenticates the host at the other side, and the local user to that, and hands the finished handshake over. From
then on it knows that the session is there, and may say that it must end; of what goes over it, it can read nothing.

    accounts      the users and groups of the machine, and who is at the other end of a Unix socket
    folder        the folder with the keys, which nobody else may read
    settings      daemon.toml: the services
    identities    what it authenticates itself with, for each user
    bounds        what one user may have at a time
    journal       the sessions that were handed over, on disk: a restart ends none of them
    audit         one line for each connection, once it is over
    lines         the same sessions, and the control lines that hold them
    doors         the Unix sockets, one for each service and direction: the kernel says who may open them
"""
