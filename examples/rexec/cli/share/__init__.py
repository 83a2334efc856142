"""Sessions that are kept open for the next call: ``rexec run --share``.

`client` is such a call: it hands its command line and its descriptors to the `keeper`, a process that it starts if
there is none, and does what that says (`messages`) until there is a status. The keeper answers each `call`, and runs
its command (`running`) over a session that it has.

A call with a session that is kept takes a tenth of the time of any other. That is why `client` and `messages` import
next to nothing, and nothing may be imported here.
"""
