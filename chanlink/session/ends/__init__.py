"""Ends that are in two processes: streams of a session in the place of the queue in memory.

    remote      a stream as an outlet and as a feed of cores; messages are encoded here, and decoded when they are taken
    departure   ends that leave in messages: each gets a stream, and the core that stays is bound to it
    arrival     ends that arrive: streams become ends, at the latest when the message that names them is taken
    relay       what came over one session and goes on over another: moved without a task, and unread
    foreign     files, sockets, async iterables in messages: a byte pipe, and a task that copies
    ends        all of it for one session

An end may leave while tasks wait at it, with messages in it that hold ends themselves: so departures are planned before
anything is changed. No file here imports another room's tasks: but for `foreign`, nothing here waits.
"""
