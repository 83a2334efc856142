"""Remote execution over chanlink: run a command on another machine, with its streams and its exit status.

`client.run` and `client.start` run commands from a program, `server.service` is the service that executes them, and
``rexec`` (or ``python -m examples.rexec``) is the command line for both. `messages` says what travels between them.
"""
