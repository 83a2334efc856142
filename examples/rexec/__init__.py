"""Remote execution over chanlink: run a command on another machine, with its streams and its exit status.

`client.run` and `client.start` run commands from a program, `server.service` is the service that executes them, and
``rexec`` (or ``python -m examples.rexec``) is the command line for both.

Where to look: `messages` says what travels; `server` answers it, by `policy` and with an `audit`; `guarding` has the
guard start commands, `guard` is that process, `guard_child` what it forks, and `process` is a command as the server
sees it. Copies have a service
of their own: `copying` says what travels, `copying_client.copy` copies from a program, `copying_service` serves.
`sharing` is about sessions that are kept for many calls, and `hosts` about names for servers.
"""
