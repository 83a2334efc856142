"""The ``chanlink`` command.

It is a program above the library: it uses public names. What it takes of the inside nevertheless is listed, with a
reason for each, in ``tests/test_layers.py``. Each subcommand is a module of commands/, which says what its arguments
are (``add``) and what is done with them; how that is done, if it is more than some calls of the library, stands in a
module of actions/: copying standard input and output, forwarding, a screen, files of peers and of keys. Of the
library, each takes what it uses (decision 0057), and actions are imported when they are called: so ``--help``, mistakes
and what only reads keys are quick.

    cli         arguments -> a subcommand -> an exit status; what was raised -> one line, by problems
    options     the arguments that subcommands have in common
    sessions    arguments -> an event loop, a session, a listener; keys: arguments -> an identity, a public key
    output      standard output and error, whatever state they are in; interrupts: signals, and how to end by one
"""

from .cli import main, program

__all__ = ["main", "program"]
