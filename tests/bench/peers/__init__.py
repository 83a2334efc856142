"""The peers, one module for each: see `tests.bench.ends` for what it has."""
