"""Work queues whose processes are killed, stopped and cut off at random: ``python -m tests.queue_kills``.

campaign    starts the processes, and does to them what a bad day does
processes   one of them, and another one in its place when it is gone
queue, worker, submitter    what they are: programs of their own
diary       what each has seen, line by line, on the disk before it goes on
promises    what must hold of all that was seen
bad_days    what can happen to a store, and to the clock
"""
