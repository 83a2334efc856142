"""The tests: a folder for each room of chanlink, with a file for each file there, and folders about the whole.

    channels/ session/ wire/ security/ transport/    each file alone, without sessions and sockets where it can be
    patterns/ command/ testing/                      what stands above; most of it without other processes
    rexec/          the program rexec, folder by folder
    kinds/          both programs as processes, by kinds of trouble: signals, descriptors, locales, hostile words
    conformance/    every behaviour once, over seven routes between two places
    machine/        two peers and a relay against a model;  kills/, soak/, fuzz/: for hours, by make
    bench/          how fast, beside others;  typing/: what type checkers make of the public names
    project/        the documents, their examples, the shape of the sources

Here are the rules of imports (test_layers), tests of the files that all rooms stand on, and what all tests use:
patience, leaks, refusing, busy, echo, and what `pytest --quick` leaves out (quick).
"""
