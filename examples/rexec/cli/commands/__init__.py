"""The subcommands of ``rexec``, a module each.

``add(commands)`` adds the parser with `arguments.add_command`. At the top a module imports only what parsing needs;
the rest is imported by the functions that use it.
"""
