"""Sessions that are kept open for the next call: ``rexec run --share``.

`client` is such a call: it hands its command line and its descriptors to the `keeper`, a process that it starts if
there is none, and does what that says (`messages`) until there is a status. The keeper answers each `call`, and runs
its command (`running`) over a session that it has.

A call over a session that is kept has little more to do than to wait for the command. That is why `client` and
`messages` import next to nothing, and nothing may be imported here.
"""
