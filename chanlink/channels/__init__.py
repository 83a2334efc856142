"""What a program holds: pipes and their ends, byte streams, select. Whole without a network.

A message goes from the end that sends to the end that receives, one floor after the other:

    channel, bytestream     `Sender`, `Receiver`, `ByteStream`: what they promise, and what they say when they are over
    handle                  an end is open, lent to a message, or void; what it does with its core
    cores                   who waits; the outlet of what is sent, the feeds of what is received
    memory                  the queue that joins two cores of one process
    cases, selector         several cores at a time, without a task for each

`values` says what a message may hold; `offers` what it is until it is accepted; `waiting` how tasks, cases and relays
wait, and what becomes of ends that nobody closes. What is behind a core may change while tasks wait at it: then the far
end is in another process (session/ends), and nothing here knows of it.
"""
