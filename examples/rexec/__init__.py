"""Remote execution over chanlink: run a command on another machine, with its streams and its exit status.

Programs use `client` (`run`, `start`, ...) and `server` (`service`); ``rexec``, or ``python -m examples.rexec``, is the
command line for both. `messages` says what travels between them.

Besides that there are `copy`, the service that ``rexec cp`` uses, `policy`, which says who may run what, and `guard`,
the process that starts and ends the commands of a server. The command line is `cli`.
"""

__version__ = "0.2.0.dev0"
"""That of the distribution chanlink-rexec, which has the version of the chanlink that it was written with."""
