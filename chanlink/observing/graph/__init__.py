"""Who waits for whom across several servers, and how that is drawn. Maps in, text out: no I/O, no clock.

    reading     what servers report, checked: it is theirs, and may be anything
    waiting     what is joined of it, and the tasks none of which can go on
    dot         the graph for graphviz;  page: an HTML page around the picture

A node is a task. It waits for one of several things (a select), or for all of the tasks that it has started. Whoever
holds the other end of a channel can end a wait for it; a relay hands the question on. A **deadlock** is a set of tasks
that all wait, and only for each other. A task that waits for anything else, or whose other side may be used by somebody
who was not seen, can go on, and so can all that wait for it. So what is slow, or not known, is no deadlock.
"""
