"""How fast chanlink is, beside what else does the same work: ``python -m tests.bench``.  Nothing fails on time."""
