"""What a program holds: pipes and their ends, byte streams, select. Whole without a network.

A message goes from the end that sends to the end that receives, one floor after the other:

    channel, bytestream     `Sender`, `Receiver`, `ByteStream`: what they promise, and what they say when they are over
    handle                  an end is open, lent to a message, or void; what it does with its core
    cores                   who waits; the outlet of what is sent, the feeds of what is received
    memory                  the queue that joins two cores of one process
    cases, selector         several cores at a time, without a task for each
    pushing                 the same to many, without a task for each; `encoded` is a message that is encoded once

    typed                   objects instead of plain data, and what a message has to be to become one; `type_hints` says
                            what a type holds, `objects` finds the ends in an object, `valid` passes what fits

`values` says what a message may hold; `offers` what it is until it is accepted; `waiting` how tasks, cases and relays
wait, and what becomes of ends that nobody closes; `describing` what a debugger shows of an end. What is behind a core
may change while tasks wait at it: then the far end is in another process (session/ends), and nothing here knows of it.
"""
