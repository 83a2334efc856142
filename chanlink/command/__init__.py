"""The ``chanlink`` command.

`main` is in cli.py. Each subcommand is a module: ``add`` says what its arguments are, and the function that it sets
as their action does the work. Imports wait until the arguments are clear, so that ``--help`` and mistakes are quick.
"""

from .cli import main, program

__all__ = ["main", "program"]
