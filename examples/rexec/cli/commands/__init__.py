"""The subcommands of ``rexec``, a module each.

``add(commands)`` adds the parser with `arguments.add_command`. At the top a module imports only what parsing needs;
the functions that do the work import the rest. No subcommand imports another one.
"""
