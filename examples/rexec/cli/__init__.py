"""The command line ``rexec``.

`main` finds the subcommand, a module of `commands`. What several of them need lies here, and knows none of them:
parsing and options, the way to a session with a server, a run of a command with our descriptors, our terminal,
signals, errors in a line that says what to do. `share` is what ``rexec run --share`` does.

A call should be quick. So modules import what they need when they need it, and `descriptors` and `interrupts`, through
which every call goes, import next to nothing. Nothing may be imported here either.
"""
