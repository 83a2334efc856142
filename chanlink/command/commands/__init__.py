"""The subcommands of ``chanlink``, a module each.

``add(commands)`` adds the subcommand's parser: its arguments, the notes under its ``--help``, and the function that is
called with the options that were given. That function returns the exit status, or raises what `problems.explain` makes
a line of. A subcommand that needs an event loop wraps it by `sessions.in_event_loop`.
"""
