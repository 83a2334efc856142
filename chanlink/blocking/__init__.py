"""Channels for code that waits in the ordinary way: scripts, notebooks, threads. `connect` is where to begin.

    with blocking.connect("tcp://build") as session:
        requests = session.open("shout")
        reply, replies = session.pipe()
        requests.send({"say": "hello", "reply": reply})
        print(replies.receive(timeout=2))

An event loop runs in a thread that belongs to the ``with`` block, and everything that happens, happens there. What is
here are handles on it, which any thread may use: they hand over what is to be done, and wait. There are no other rules
of channels here than in the rest of the package, and ends of the two kinds can be made of each other (`Loop.wrap`,
and ``end`` of each end here).

**Ctrl-C** (any exception that a signal handler raises in a thread that waits here) cancels what is waited for, waits
until that is over, and goes on as the exception that it is. A message that had just been taken is not lost: the next
`receive` of that end gets it. A second one while the first is being waited for goes on at once.

How that is done, `portal.py` says.
"""

from .ends import ByteStream, Receiver, Sender
from .files import Reader, Writer
from .iteration import Iteration
from .loop import Loop, loop
from .queue import Job, Jobs, QueueClient, Ticket
from .session import Session, connect

__all__ = [
    "ByteStream",
    "Iteration",
    "Job",
    "Jobs",
    "Loop",
    "QueueClient",
    "Reader",
    "Receiver",
    "Sender",
    "Session",
    "Ticket",
    "Writer",
    "connect",
    "loop",
]
