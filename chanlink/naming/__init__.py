"""Names of servers, for programs that hold no directory: ``chanlink://name`` and ``$CHANLINK_DIRECTORY``.

    setting        which directories, in a text
    cache          what they have said, in a file, until it expires
    asking         one question, by a session of its own
    resolving      these three, as what `connect` takes for a directory
    finding        `connect` and `reconnecting`, which take that when nobody says another one

A program that connects often keeps a `chanlink.directory.Directory`, whose session costs one round trip a name.
"""
