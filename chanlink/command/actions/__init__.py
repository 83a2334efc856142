"""What subcommands do, as far as it is more than some calls of the library. Nothing here knows of arguments.

    stdio         standard input and output for an event loop, joined to a byte stream
    forwarding    connections of local programs over byte streams of a session
    benchmark     the service that ``chanlink bench`` measures against, and what measures
    screen        a report of sessions as lines, and a terminal that shows them
    peer_files    changing the files that say whom to trust;  trust_file: those of them that say who may connect
    key_files     making and reading files of keys;  vouching: credentials and successors beside them

A module is imported when its subcommand is called.
"""
