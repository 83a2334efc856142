"""How fast chanlink is, beside what else does the same work: ``python -m tests.bench``. No test fails on time.

From a row of the table to its figures:

    works/      the rows, a module for each kind of work: what is compared with whom, and what is wanted
    harness     a row's tasks are run in turn (`Bench`, `measure`)
    ends        each task in two processes, a server and a client (`Pair`)
    peers/      what those two do, a module for each peer
    meter       time, processor time and memory of both
    results     figures, ratios, goals; JSON and the table. `page` and `plots` bring them into the documents
    smoke       compares with baseline.json

`hostile` is a program of its own: floods, and what they cost.
"""
