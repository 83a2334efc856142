"""Fuzzing of everything that a stranger's bytes reach: see targets.py, and `make fuzz SECONDS=n`."""
